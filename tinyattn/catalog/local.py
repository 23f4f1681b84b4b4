"""Rows of windows, blocks and groups with something more: global tokens, first tokens, random blocks, a shift."""

from __future__ import annotations

from functools import partial

import numpy as np

from tinyattn import definitions
from tinyattn.caches.growing import GrowingCache
from tinyattn.catalog import calls, refused
from tinyattn.catalog.cache_size import KEYS_AND_VALUES
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.catalog.sparse import BELTAGY
from tinyattn.laws.cached import decoded
from tinyattn.laws.draw import sparse as draw
from tinyattn.laws.draw.options import but, on
from tinyattn.laws.draw.sizes import groups_of_four, square
from tinyattn.laws.forms import agrees, form_agrees
from tinyattn.laws.general import mixing_laws
from tinyattn.laws.law import Law
from tinyattn.laws.oracles import gathered
from tinyattn.laws.oracles import sparse as oracles
from tinyattn.laws.score import plain
from tinyattn.laws.sparse import first_half, others_poisoned, reversed_text, second_half
from tinyattn.ops import masks
from tinyattn.ops.masks.published import ends, near_blocks

ROWS = (
    Row(name="longformer_attention",
        says="Every token reads a window; a few global tokens read all tokens and are read by all.",
        definition=definitions.longformer_attention, called=calls.tied,
        papers=(BELTAGY,), kind="exact", cost="heads i (window + global) (d + e)", aliases=("longformer", "global tokens"),
        sample=draw.PROJECTED,
        laws=(*form_agrees("the_gathered_form", gathered.longformer, draw.PROJECTED,
                           "Gathering each token's window and the global tokens gives the same."),
              agrees("multi_head_local_attention", oracles.both_sides, to="multi_head_local_attention",
                     draw=but(draw.PROJECTED, lambda p: p.but(global_tokens=[])),
                     says="Without global tokens it is a window on both sides."),
              agrees("attention", oracles.TO_ALL, to="attention",
                     draw=but(draw.PROJECTED, lambda p: p.but(global_tokens=[], window=99)),
                     says="With a window as long as the text it is attention."),
              agrees("attention_by_global_projections", oracles.by_global_projections, to="attention",
                     draw=but(draw.PROJECTED, lambda p: p.but(global_tokens=range(99))),
                     says="If all tokens are global it is attention by the global projections."),
              agrees("gathered_attention", oracles.one_pattern, draw=draw.TIED, to="gathered_attention",
                     says="With the same projection for both it is one pattern, in which every key counts once."),
              Law("a_token_has_one_projection", "q of the global tokens and q_global of all others are never read.", draw.PROJECTED,
                  plain, others_poisoned),
              Law("a_text_turned_round_gives_its_result_turned_round", "The reversed text gives the reversed result.",
                  on(draw.TIED, square), plain, reversed_text),
              *mixing_laws(draw.TIED)),
        bad_inputs=(BadInput({"window": -1}, ValueError, ("window", "-1")),
                    BadInput({"global_tokens": [0, -3]}, ValueError, ("global_tokens", "-3")),
                    BadInput({"global_tokens": [0.5]}, TypeError, ("global_tokens", "float64")),
                    BadInput({"q_global": np.ones((1, 4, 9, 4))}, ValueError, ("q_global", "(1, 4, 9, 4)")), refused.SCALE),
        pattern=masks.window(2, 2) | masks.global_tokens([0, 9])),
    Row(name="bigbird_attention",
        says="A block sees its neighbours, the first and the last block, and a few blocks at random.",
        definition=definitions.bigbird_attention,
        papers=(Paper("Zaheer et al.", 2020, "2007.14062"),), kind="exact", cost="heads i (5 + random) block (d + e)",
        aliases=("bigbird", "big bird"), sample=draw.BIGBIRD,
        laws=(*form_agrees("the_gathered_form", gathered.bigbird, draw.BIGBIRD,
                           "Gathering each query's set of blocks gives the same."),
              agrees("attention", oracles.TO_ALL, draw=but(draw.BIGBIRD, lambda p: p.but(block=5, causal=False)), to="attention",
                     says="With three blocks, each of which is an end or a neighbour, it is attention."),
              agrees("causal_attention", oracles.CAUSAL, draw=but(draw.BIGBIRD_CAUSAL, lambda p: p.but(random=99)), to="attention",
                     says="With as many random blocks as there are blocks it is causal attention."),
              *decoded(partial(GrowingCache, definitions.bigbird_attention), draw.BIGBIRD_CAUSAL), *mixing_laws(draw.BIGBIRD)),
        bad_inputs=(refused.BLOCK, BadInput({"random": -1}, ValueError, ("random", "-1")),
                    BadInput({"seed": 0.5}, TypeError, ("seed", "float")), BadInput({"causal": 1}, TypeError, ("causal", "int")),
                    refused.SCALE),
        mixer=calls.BIGBIRD, cache=partial(GrowingCache, calls.BIGBIRD), cache_size=KEYS_AND_VALUES,
        pattern=near_blocks(2) | ends(2, 16) | masks.random_blocks(2, 1, 0)),
    Row(name="streaming_llm_attention",
        says="Queries read the first tokens and the last ones, with positions counted as in a cache that holds only these.",
        definition=definitions.streaming_llm_attention,
        papers=(Paper("Xiao et al.", 2023, "2309.17453"),), kind="exact", cost="heads i (first + window) (d + e)",
        aliases=("streamingllm", "streaming llm", "attention sinks"), sample=draw.STREAMING,
        laws=(*form_agrees("a_cache_that_evicts", gathered.streaming_llm, draw.STREAMING,
                           "A cache that evicts tokens, read one token at a time, gives the same."),
              agrees("rotary_attention", partial(oracles.on_rotated, definitions.attention, causal=True), to="attention",
                     draw=but(draw.STREAMING, lambda p: p.but(window=99)),
                     says="While nothing is evicted it is causal attention with rotary positions."),
              agrees("a_rotary_window", oracles.rotary_window, to="multi_head_local_attention",
                     draw=but(draw.STREAMING, lambda p: p.but(first=0)),
                     says="Without first tokens it is a sliding window with rotary positions."),
              *decoded(partial(GrowingCache, calls.always_causal(definitions.streaming_llm_attention)), draw.STREAMING),
              *mixing_laws(draw.STREAMING)),
        bad_inputs=(BadInput({"first": -1}, ValueError, ("first", "-1")), BadInput({"window": 0}, ValueError, ("window", "0")),
                    BadInput({"base": float("nan")}, ValueError, ("base", "nan")), BadInput({"base": "x"}, TypeError, ("base", "str")),
                    refused.SCALE),
        rotates=True, mixer=calls.STREAMING, cache=partial(GrowingCache, calls.STREAMING), cache_size=KEYS_AND_VALUES,
        pattern=masks.causal() & (masks.first(2) | masks.sliding_window(4))),
    Row(name="shifted_sparse_attention",
        says="A token sees its group; in half of the heads the groups are shifted by half their length.",
        definition=definitions.shifted_sparse_attention,
        papers=(Paper("Chen et al.", 2023, "2309.12307"),), kind="exact", cost="heads i group (d + e)",
        aliases=("longlora", "s2", "s2-attn", "shifted sparse attention"),
        sample=draw.GROUPS,
        laws=(*form_agrees("ragged_groups", gathered.shifted_sparse, draw.GROUPS,
                           "Listing the borders of the groups, with half a group at each end, gives the same."),
              agrees("a_turn_with_regions", oracles.rolled, draw=but(draw.GROUPS, lambda p: p.but(group=4), fit=groups_of_four),
                     says="Rolling the text, hiding tokens that were not neighbours, and rolling it back gives the same."),
              agrees("causal_attention", oracles.CAUSAL, draw=but(draw.GROUPS_CAUSAL, lambda p: p.but(group=40)), to="attention",
                     says="With groups twice as long as the text it is causal attention."),
              Law("the_first_heads_are_not_shifted", "The first half of the heads is attention within blocks.", draw.GROUPS,
                  first_half, lambda f, p: first_half(oracles.within_blocks("group"), p), to="multi_head_local_attention"),
              Law("the_last_heads_see_shifted_windows",
                  "Without causality, the second half of the heads reads windows on a line, shifted by half a window.",
                  but(draw.GROUPS, lambda p: p.but(group=4, causal=False), fit=groups_of_four), second_half,
                  lambda f, p: second_half(oracles.shifted_in_all_heads, p), to="shifted_window_attention"),
              *decoded(partial(GrowingCache, definitions.shifted_sparse_attention), draw.GROUPS_CAUSAL),
              *mixing_laws(draw.GROUPS, heads=False)),
        bad_inputs=(BadInput({"group": 3}, ValueError, ("group", "3")), BadInput({"group": 0}, ValueError, ("group", "0")),
                    BadInput({"variant": "swin"}, ValueError, ("variant", "swin", "safe")),
                    BadInput({"variant": "roll"}, ValueError, ("q", "(1, 4, 5, 4)")), refused.SCALE),
        mixer=calls.SHIFTED, cache=partial(GrowingCache, calls.SHIFTED), cache_size=KEYS_AND_VALUES,
        pattern=masks.causal() & masks.shifted_blocks(4, 2)),
)
