"""Rows of sparse attention by any pattern, and by any table of blocks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from tinyattn import definitions
from tinyattn.caches.growing import GrowingCache
from tinyattn.catalog import calls, refused
from tinyattn.catalog.cache_size import KEYS_AND_VALUES
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.cached import cached, decoded
from tinyattn.laws.draw import sparse as draw
from tinyattn.laws.draw.options import but, on
from tinyattn.laws.draw.sizes import four_tokens, multiple_of_three
from tinyattn.laws.draw.softmax import ALL
from tinyattn.laws.forms import agrees, form_agrees, gradients_agree, invisible
from tinyattn.laws.general import causal, mixing_laws
from tinyattn.laws.gradient import gradients, poisoned_gradients
from tinyattn.laws.law import Law
from tinyattn.laws.masking import unseen_poisoned
from tinyattn.laws.oracles import gathered
from tinyattn.laws.oracles import sparse as oracles
from tinyattn.laws.oracles.calls import own_values, taking
from tinyattn.laws.score import plain
from tinyattn.laws.sparse import cut_finer, two_tables
from tinyattn.ops import masks

CHILD, BELTAGY = Paper("Child et al.", 2019, "1904.10509"), Paper("Beltagy et al.", 2020, "2004.05150")
ROWS = (
    Row(name="gathered_attention",
        says="Computes only the blocks of a pattern that contain a visible pair.",
        definition=definitions.gathered_attention,
        papers=(CHILD, BELTAGY), kind="exact", cost="heads visible (d + e), by whole blocks",
        aliases=("sparse transformer", "strided attention", "dilated attention", "dilated window", "block-local attention",
                 "fixed attention", "look-back attention"),
        sample=draw.OF_HEADS,
        laws=(agrees("attention", oracles.pattern_as_mask, draw=draw.STATIC, to="attention",
                     says="It is attention with the pattern as its mask."),
              agrees("attention_head_by_head", oracles.pattern_as_mask, draw=draw.OF_HEADS, to="attention",
                     says="With a different pattern for each head it is attention with those patterns as its mask."),
              gradients_agree("attention", oracles.pattern_as_mask, draw=on(draw.STATIC, four_tokens)),
              agrees("causal_attention", oracles.CAUSAL, to="attention",
                     says="With windows, blocks or shards as long as the text, or a stride of 1, it is causal attention.",
                     draw=draw.seen(masks.sliding_window(99), masks.causal() & masks.block_local(99), masks.strided(1),
                                    masks.fixed(3, 3), masks.causal() & masks.look_back(99), masks.dilated(99, 1),
                                    masks.sharded(1, size=2, local=1, stride=1), masks.sharded(1, size=2, local=99, stride=3))),
              agrees("multi_head_local_attention", taking(definitions.multi_head_local_attention, "scale", window=3),
                     to="multi_head_local_attention",
                     draw=draw.seen(masks.sliding_window(3), masks.dilated(3, 1), masks.window(2, 0)),
                     says="A sliding window, a one-sided window and a dilation of 1 are the same local attention."),
              agrees("own_values", own_values,
                     draw=draw.seen(masks.sliding_window(1), masks.block_local(1), masks.dilated(1, 3), masks.window(0, 0)),
                     says="With windows or blocks of one token every query reads the value at its own position."),
              agrees("blocks_alone", oracles.blocks_alone, to="attention",
                     draw=draw.seen(*(masks.causal() & blocks for blocks in (masks.block_local(3), masks.shifted_blocks(3, 0)))),
                     says="Blocks that see only themselves give the same as texts of their own."),
              agrees("residues_alone", oracles.residues_alone, draw=draw.seen(masks.dilated(2, 3)), to="multi_head_local_attention",
                     says="A dilated window is a window on each residue class of the positions."),
              agrees("transposed_blocks", oracles.columns_as_blocks, draw=draw.seen(masks.strided(3), fit=multiple_of_three),
                     to="attention", says="A stride becomes blocks once the text is written as a table and transposed."),
              Law("the_unseen_may_hold_anything", "NaN or inf in places that no query sees changes nothing.",
                  but(draw.STATIC, draw.last_key_hidden), plain, unseen_poisoned),
              Law("the_unseen_leaves_gradients_alone", "NaN in places that no query sees changes no gradient.",
                  but(draw.STATIC, draw.last_key_hidden, fit=four_tokens), gradients, poisoned_gradients),
              invisible("block", (1, 2, 3, 7), draw.STATIC),
              *decoded(partial(GrowingCache, calls.always_causal(definitions.gathered_attention)), draw.STATIC_BACK),
              *mixing_laws(draw.STATIC)),
        bad_inputs=(BadInput({"mask": np.ones((5, 7), bool)}, TypeError, ("mask", "ndarray")),
                    BadInput({"mask": masks.per_head([masks.causal()] * 3)}, ValueError, ("mask", "(3, 5, 7)")),
                    refused.BLOCK, refused.SCALE),
        mixer=calls.SPARSE_TRANSFORMER, cache=partial(GrowingCache, calls.SPARSE_TRANSFORMER), cache_size=KEYS_AND_VALUES,
        pattern=masks.sliding_window(4) | masks.strided(4)),
    Row(name="block_sparse_attention",
        says="A table decides which block of queries sees which block of keys.",
        definition=definitions.block_sparse_attention,
        papers=(CHILD, Paper("Lin et al.", 2024, "2407.17678")), kind="exact", cost="heads i j (d + e)",
        aliases=("block-sparse attention", "sharded attention", "sparsely-sharded attention", "phi-3-small attention"),
        sample=draw.tables,
        laws=(*form_agrees("the_gathered_form", gathered.block_sparse, draw.tables,
                           "Gathering the keys of each query's blocks gives the same."),
              agrees("attention", taking(definitions.attention, *ALL), to="attention",
                     draw=but(draw.tables, lambda p: p.but(blocks=np.ones_like(p.options["blocks"]))),
                     says="With a table of all blocks it is attention."),
              Law("blocks_cut_finer_change_nothing", "The same table written for single pairs gives the same.", draw.tables, plain,
                  cut_finer),
              Law("tables_merge_into_their_union", "The results of two tables without a block in common merge into that of both.",
                  draw.tables, plain, two_tables, to="attention_with_lse"),
              Law("equals_a_sharded_pattern", "With a table of each head's shards it is gathered attention with that pattern.",
                  draw.SHARDS, lambda f, p: plain(partial(calls.sharded, mechanism=f), p),
                  lambda f, p: plain(oracles.sharded_pattern, p), to="gathered_attention"),
              replace(cached(partial(GrowingCache, calls.sharded), draw.SHARDS),
                      left=lambda f, p: plain(partial(calls.sharded, mechanism=f), p)),
              causal(but(draw.tables, lambda p: p.but(causal=True))), *mixing_laws(but(draw.tables, draw.one_table))),
        bad_inputs=(BadInput({"blocks": np.ones((3, 3))}, TypeError, ("blocks", "float64")),
                    BadInput({"blocks": np.ones((9, 9), bool)}, ValueError, ("blocks", "(9, 9)")),
                    BadInput({"q_block": 0}, ValueError, ("q_block", "0")),
                    BadInput({"kv_block": 1.5}, TypeError, ("kv_block", "float")), *refused.WITHOUT_SINKS),
        mixer=calls.sharded, cache=partial(GrowingCache, calls.sharded), cache_size=KEYS_AND_VALUES,
        pattern=masks.sharded(1, size=2, local=2, stride=4)),
)
