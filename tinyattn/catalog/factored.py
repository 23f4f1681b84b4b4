"""Rows of mechanisms whose heads share more than keys: sums of outer products, and keys that an indexer chooses for all heads."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.factored import FactorCache, packed
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.tokens import TokenCache
from tinyattn.catalog import calls, refused
from tinyattn.catalog.cache_size import FACTORS
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.cached import cached
from tinyattn.laws.draw import factored as draw
from tinyattn.laws.draw.options import given, on, one_of, with_options
from tinyattn.laws.draw.sizes import even
from tinyattn.laws.general import agrees, form_agrees, mixing_laws
from tinyattn.laws.law import Law, plain, unchanged
from tinyattn.laws.masking import causal
from tinyattn.laws.oracles import factored as oracles
from tinyattn.laws.oracles.calls import taking
from tinyattn.laws.oracles.sparse import CAUSAL
from tinyattn.layers.tensor_product import TensorProductAttention
from tinyattn.ops.masks.pattern import Pattern

DEEPSEEK = Paper("DeepSeek-AI", 2025, "2512.02556")
UNIT = ("causal", "window", "scale", "mask", "bias", "sinks")
BAD_INDEX = (refused.value("keep", 0), refused.kind("keep", 2.0), refused.shape("weights", 1, 3), refused.SCALE)
ROWS = (
    Row(definition=definitions.tensor_product_attention, called=calls.of_factors, papers=(Paper("Zhang et al.", 2025, "2501.06425"),),
        cost="heads i j (d + e) + rank heads (i + j) d",
        says="Queries, keys and values of all heads are sums of few outer products, and only their factors are stored.",
        aliases=("tpa", "t6", "tensor product"), sample=draw.FACTORS,
        laws=(*form_agrees("sums_of_outer_products", oracles.products, draw.FACTORS,
                           "It is attention over queries, keys and values whose outer products are summed one by one.",
                           to="attention"),
              agrees("multi_head_attention", taking(definitions.multi_head_attention, *UNIT), draw=draw.OWN, to="multi_head_attention",
                     says="With one unit vector per head as head factors it is multi-head attention over the channel factors."),
              agrees("grouped_query_attention", taking(definitions.grouped_query_attention, *UNIT), draw=draw.GROUPED,
                     to="grouped_query_attention",
                     says="With one unit vector per head as head factors, and fewer kv heads than heads, it is grouped-query "
                          "attention."),
              agrees("multi_query_attention", taking(definitions.multi_query_attention, *UNIT), draw=draw.ONE,
                     to="multi_query_attention",
                     says="With keys and values of rank 1 and head factors of 1 it is multi-query attention."),
              Law("a_turn_of_the_channel_factors_turns_the_products", "Rotating the channel factors rotates the queries and keys.",
                  on(draw.FACTORS, even), oracles.with_turned_factors, lambda f, p: plain(oracles.turned_products, p), to="attention"),
              unchanged("a_number_may_go_to_either_factor", "Doubling a head factor and halving its channel factor changes nothing.",
                        draw.FACTORS, lambda p: p.but(q=0.5 * p.q, q_factors=2.0 * p.options["q_factors"])),
              cached(FactorCache, draw.CACHED, draw.packed),
              causal(given(draw.FACTORS, causal=True)), *mixing_laws(draw.FACTORS, heads=False)),
        bad_inputs=(*refused.WITHOUT_SINKS, refused.kind("v_factors", [[1.0]]),
                    BadInput({"k_factors": np.ones((1, 2, 9, 3))}, ValueError, ("k_factors", "(1, 9, 2, 3)"))),
        mixer=packed, cache=FactorCache, cache_size=FACTORS,
        layer=TensorProductAttention.create),
    Row(definition=definitions.lightning_indexer, called=calls.choosing, papers=(DEEPSEEK,), kind="approximate",
        cost="index heads i j c",
        says="A few small heads choose, for each query, the keys that all heads of an attention then read.",
        aliases=("indexer",), sample=draw.INDEXED,
        laws=(agrees("row_by_row", oracles.row_by_row, draw=draw.INDEXED,
                     says="Sorting the keys of each query by their scores, and equal scores by position, gives the same choice."),
              agrees("deepseek_sparse_attention", calls.indexed(definitions.deepseek_sparse_attention), draw=draw.INDEXED,
                     to="deepseek_sparse_attention", says="Attention with its choice as the mask is DeepSeek sparse attention."),
              causal(draw.INDEXED_CAUSAL)),
        bad_inputs=BAD_INDEX),
    Row(definition=definitions.deepseek_sparse_attention, called=calls.indexed, papers=(DEEPSEEK,), kind="approximate",
        cost="index heads i j c + heads i keep (d + e)",
        says="All heads of a query read the same few keys, which a lightning indexer chooses.",
        aliases=("dsa", "deepseek sparse"), sample=draw.INDEXED,
        laws=(*form_agrees("row_by_row", oracles.row_by_row, draw.INDEXED,
                           "Sorting the keys of each query by their scores, and equal scores by position, and reading the first "
                           "ones, gives the same outputs."),
              agrees("attention", CAUSAL, draw=with_options(draw.INDEXED_CAUSAL, keep=one_of(13, 99)), to="attention",
                     says="Keeping as many keys as there are gives causal attention."),
              agrees("top_k_attention", oracles.best_of_own_scores, draw=draw.ALONE, to="top_k_attention",
                     says="With one head whose queries and keys are positive and are also those of the indexer, it is top-k "
                          "attention."),
              unchanged("a_factor_changes_no_choice", "Multiplying weights or index queries by a positive number changes nothing.",
                        draw.INDEXED, lambda p: p.but(weights=4.0 * p.options["weights"], q_index=0.5 * p.options["q_index"])),
              cached(partial(TokenCache, fastest.deepseek_sparse_attention), draw.INDEX_KEPT, draw.without_index_heads),
              replace(cached(partial(GrowingCache, partial(calls.indexed_by_itself, keep=2)), draw.SELVES),
                      name="decoded_with_mean_keys",
                      says="With the mean keys of all heads as the indexer's keys, decoding needs no second cache and gives the "
                           "same outputs.",
                      left=lambda f, p: plain(partial(calls.indexed_by_itself, mechanism=f), p.but(keep=2))),
              causal(draw.INDEXED_CAUSAL), *mixing_laws(draw.INDEXED, heads=False)),
        bad_inputs=(*BAD_INDEX, BadInput({"k_index": np.ones((1, 1, 9, 5))}, ValueError, ("k_index", "(1, 9, 5)")),
                    refused.shape("q_index", 1, 2)),
        **calls.growing(calls.indexed_by_itself, keep=16),
        pattern=Pattern(lambda i, j: (j <= i) & ((j * 5 % 7) % 3 == 0), text="all heads see the same few earlier keys")),
)
