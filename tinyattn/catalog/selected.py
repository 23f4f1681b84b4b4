"""Rows of attention to keys that the queries themselves choose: by score, by hash, by the means of blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyattn import definitions
from tinyattn.catalog import calls, refused
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws import sparse as compared
from tinyattn.laws.cached import decoder_laws
from tinyattn.laws.draw import sparse as draw
from tinyattn.laws.draw.options import but, given, one_of, with_options
from tinyattn.laws.draw.sizes import few_rows, few_rows_own_heads
from tinyattn.laws.draw.softmax import ALL, softmax
from tinyattn.laws.general import agrees, form_agrees, mixing_laws
from tinyattn.laws.law import Law, plain, unchanged
from tinyattn.laws.masking import causal
from tinyattn.laws.oracles import gathered
from tinyattn.laws.oracles import sparse as oracles
from tinyattn.laws.oracles.calls import taking
from tinyattn.layers.inputs import Input
from tinyattn.ops.activation import sigmoid

ROWS = (
    Row(definition=definitions.top_k_attention,
        papers=(Paper("Gupta et al.", 2021, "2106.06899"), Paper("Zhao et al.", 2019, "1912.11637")), kind="approximate",
        cost="heads i j d + heads i keep e",
        says="Each query reads only the keys with its largest scores.",
        aliases=("top-k attention", "topk", "explicit sparse transformer"), sample=draw.TOP,
        laws=(*form_agrees("the_gathered_form", gathered.top_k, but(draw.TOP, lambda p: p.but(keep=max(p.options["keep"], 2))),
                           "Sorting each query's keys and gathering the first ones gives the same outputs."),
              agrees("attention", taking(definitions.attention, *ALL), to="attention",
                     draw=with_options(softmax(*ALL, fit=few_rows), keep=one_of(13, 99)),
                     says="Keeping as many keys as a query may see gives attention."),
              agrees("the_best_value", oracles.best_value, draw=draw.choosing(keep=one_of(1)),
                     says="Keeping one key gives the value of the best one."),
              unchanged("hidden_keys_take_no_place", "Hidden keys are never among the keys that are kept.",
                        draw.choosing(keep=one_of(1, 2, 3), mask=lambda rng, p: np.arange(p.k.shape[-2]) % 2 == 0),
                        lambda p: p.but(k=p.k[..., ::2, :], v=p.v[..., ::2, :], mask=None)),
              Law("what_is_left_out_bounds_the_error",
                  "No output is further from attention's than the largest absolute value times twice the weight left out.",
                  draw.choosing(keep=one_of(1, 2, 3)), compared.excess, compared.bound, to="attention", kind="approximate"),
              *decoder_laws(definitions.top_k_attention, given(draw.TOP, causal=True), draw.TOP)),
        bad_inputs=(refused.value("keep", 0), refused.kind("keep", 2.0), *refused.SOFTMAX),
        **calls.growing(definitions.top_k_attention, keep=16)),
    Row(definition=definitions.lsh_attention, called=calls.hashed, papers=(Paper("Kitaev et al.", 2020, "2001.04451"),),
        kind="approximate", cost="hashes heads i 2 chunk (d + e)",
        says="Tokens are sorted by a hash, and each attends to the tokens nearby in that order.",
        aliases=("reformer", "locality-sensitive hashing", "shared-qk attention"), sample=draw.HASHED, fit=few_rows_own_heads,
        laws=(*form_agrees("a_dense_mask", calls.hashed(gathered.lsh), draw.HASHED,
                           "A mask of the pairs that each hash brings together gives the same outputs."),
              agrees("attention", oracles.unit_keys, to="attention",
                     draw=but(draw.HASHED, lambda p: p.but(rotations=np.zeros_like(p.options["rotations"]), chunk=13)),
                     says="With one bucket and one chunk it is attention to keys of length 1, in which a query's own key has a far "
                          "lower score."),
              unchanged("a_hash_again_tells_nothing_new", "Using the same hash three times gives the same as using it once.",
                        but(draw.HASHED, lambda p: p.but(rotations=p.options["rotations"][:1])),
                        lambda p: p.but(rotations=np.repeat(p.options["rotations"], 3, axis=0))),
              unchanged("tokens_have_no_length", "Doubling all tokens and halving the scale changes nothing.", draw.HASHED,
                        lambda p: p.but(q=2.0 * p.q, scale=0.5 * p.scale)),
              Law("more_hashes_err_less", "Its mean error against attention falls from 1 to 4 to 16 hashes.", draw.texts,
                  compared.errors_fall, lambda f, p: (np.ones(2, bool),), exact=True, to="attention", kind="approximate"),
              replace(causal(given(draw.HASHED, causal=True, chunk=13)), exact=False,
                      says="With a single chunk, changing later tokens changes no earlier output; with several chunks it would."),
              *mixing_laws(draw.HASHED)),
        bad_inputs=(BadInput({"rotations": np.full((1, 4, 2), np.nan)}, ValueError, ("rotations", "NaN")), refused.SCALE,
                    refused.shape("rotations", 2, 4, 0), refused.kind("rotations", [[1.0]]), refused.value("chunk", 0))),
    Row(definition=definitions.native_sparse_attention, papers=(Paper("Yuan et al.", 2025, "2502.11089"),), kind="approximate",
        cost="heads i (j / block + selected block + window) (d + e)",
        says="A query reads the means of blocks, the blocks that its scores of these means select, and a window.",
        aliases=("nsa", "native sparse attention"), sample=draw.NATIVE,
        laws=(*form_agrees("the_gathered_form", gathered.native_sparse, draw.NATIVE,
                           "Gathering means, blocks and window one query at a time gives the same outputs."),
              agrees("causal_attention", oracles.CAUSAL, to="attention",
                     draw=but(draw.NATIVE, lambda p: draw.with_gates(0, 1, 0)(p.but(selected=99))),
                     says="With all blocks selected and only their gate open it is causal attention."),
              agrees("attention_to_means_of_one", oracles.CAUSAL, to="attention",
                     draw=but(draw.NATIVE, lambda p: draw.with_gates(1, 0, 0)(p.but(block=1))),
                     says="With blocks of one token and only the gate of their means open it is causal attention."),
              agrees("a_window_alone", taking(definitions.multi_head_local_attention, "window", "scale"),
                     draw=but(draw.NATIVE, draw.with_gates(0, 0, 1)), to="multi_head_local_attention",
                     says="With only the window's gate open it is a sliding window."),
              Law("gates_weigh_three_attentions", "It is the sum of the three attentions, each multiplied by its gate.", draw.NATIVE,
                  plain, compared.three_attentions),
              Law("equal_values_give_the_open_gates", "Values that are all 1 give the sum of the gates.", draw.NATIVE,
                  lambda f, p: plain(f, p.but(v=np.ones_like(p.v))), compared.sum_of_open_gates),
              *decoder_laws(calls.always_causal(definitions.native_sparse_attention), draw.NATIVE, heads=False)),
        bad_inputs=(BadInput({"gates": np.full((1, 4, 5, 3), np.nan)}, ValueError, ("gates", "NaN")), refused.shape("gates", 1, 4, 5),
                    refused.kind("gates", 1.0), refused.BLOCK, refused.value("selected", 0), refused.value("window", 0),
                    refused.FEWER_KEYS, refused.SCALE),
        inputs=(Input.of(definitions.native_sparse_attention, "gates", sigmoid, 0.0),),
        **calls.growing(calls.always_causal(definitions.native_sparse_attention), block=8, selected=4, window=16)),
    Row(definition=definitions.block_mixture_attention, papers=(Paper("Lu et al.", 2025, "2502.13189"),), kind="approximate",
        cost="heads i (j / block d + keep block (d + e))",
        says="A query reads its own block, and past blocks that it chooses by the mean of their keys.",
        aliases=("moba", "mixture of block attention"), sample=draw.MIXTURE,
        laws=(*form_agrees("two_parts_merged", gathered.block_mixture, draw.MIXTURE,
                           "Reading the query's own block and its past blocks separately, and merging the results by their lse, "
                           "gives the same outputs."),
              agrees("causal_attention", oracles.CAUSAL, draw=with_options(draw.MIXTURE, keep=one_of(13, 99)), to="attention",
                     says="Keeping all blocks gives causal attention."),
              agrees("attention_in_one_block", oracles.CAUSAL, draw=with_options(draw.MIXTURE, block=one_of(13, 99)), to="attention",
                     says="With a block as long as the text it is causal attention."),
              agrees("own_blocks", oracles.within_blocks("block"), draw=with_options(draw.MIXTURE, keep=one_of(1)),
                     to="multi_head_local_attention", says="Keeping one block is attention within the query's own block."),
              agrees("top_k_attention", taking(definitions.top_k_attention, "keep", "scale", causal=True),
                     draw=but(draw.MIXTURE, draw.own_key_best), to="top_k_attention",
                     says="With blocks of one token, where each query's own key has the largest score, it is top-k attention."),
              *decoder_laws(calls.always_causal(definitions.block_mixture_attention), draw.MIXTURE)),
        bad_inputs=(refused.BLOCK, refused.value("keep", 0), refused.FEWER_KEYS, refused.SCALE),
        **calls.growing(calls.always_causal(definitions.block_mixture_attention), block=16, keep=3)),
)
