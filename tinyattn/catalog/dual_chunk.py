"""The row of dual chunk attention: rotary positions that stay below a bound."""

from __future__ import annotations

from functools import partial

import numpy as np

from tinyattn import definitions
from tinyattn.caches.growing import GrowingCache
from tinyattn.catalog import calls
from tinyattn.catalog.cache_size import KEYS_AND_VALUES
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws.cached import decoded
from tinyattn.laws.draw import variants as draw
from tinyattn.laws.draw.options import but
from tinyattn.laws.draw.sizes import few_heads
from tinyattn.laws.forms import agrees, gradients_agree
from tinyattn.laws.general import mixing_laws
from tinyattn.laws.law import Law
from tinyattn.laws.oracles.sparse import CAUSAL
from tinyattn.laws.oracles.variants import rotary_attention
from tinyattn.laws.score import plain

MERGED = definitions.dual_chunk_attention_merged
ROWS = (
    Row(name="dual_chunk_attention",
        says="Rotary positions never grow beyond those of training, because they are counted within chunks.",
        definition=definitions.dual_chunk_attention,
        papers=(Paper("An et al.", 2024, "2402.17463"),), kind="exact", cost="heads i j (d + e)",
        aliases=("dca-dual", "dual chunk", "chunkllama", "qwen2.5-1m"),
        sample=draw.DUAL, fit=few_heads,
        laws=(agrees("three_merged", MERGED, draw=draw.DUAL,
                     says="Attention to each of the three parts, merged by their lse, is one softmax over all of them."),
              gradients_agree("three_merged", MERGED, draw=draw.DUAL_SLOPES),
              Law("one_chunk_is_rotary_attention", "With a chunk as long as the text it is rotary attention.",
                  but(draw.IN_ORDER, lambda p: p.but(chunk=p.k.shape[-2])), plain, lambda f, p: plain(rotary_attention, p),
                  to="attention"),
              Law("two_chunks_in_reach_are_rotary_attention",
                  "With two chunks and a `local` as long as a chunk it is rotary attention.",
                  but(draw.IN_ORDER, draw.two_chunks), plain, lambda f, p: plain(rotary_attention, p), to="attention"),
              Law("where_nothing_turns_it_is_attention", "Where no channel is rotated it is causal attention.",
                  but(draw.IN_ORDER, draw.hardly_turning), plain, lambda f, p: plain(CAUSAL, p), to="attention"),
              Law("chunks_later_is_the_same", "Moving all tokens on by a few whole chunks changes nothing, bit for bit.",
                  draw.IN_ORDER, plain, lambda f, p: plain(f, p.but(
                      positions=np.arange(p.k.shape[-2]) + 3 * p.options["chunk"])), exact=True),
              Law("code_reaches_one_token_further",
                  "With `local` less than a chunk, the authors' code equals the paper with `local` larger by one.",
                  but(draw.IN_ORDER, lambda p: p.but(clamp="code", chunk=p.options["local"] + 1)), plain,
                  lambda f, p: plain(f, p.but(clamp="paper", local=p.options["local"] + 1)), exact=True),
              *decoded(partial(GrowingCache, calls.always_causal(MERGED)), draw.IN_ORDER), *mixing_laws(draw.IN_ORDER)),
        bad_inputs=(BadInput({"chunk": 0}, ValueError, ("chunk", "0")), BadInput({"local": 0}, ValueError, ("local", "0")),
                    BadInput({"clamp": "papr"}, ValueError, ("clamp", "papr", "code")),
                    BadInput({"base": 0.5}, ValueError, ("base", "0.5")),
                    BadInput({"positions": np.zeros(3)}, TypeError, ("positions", "float64"))),
        forms={"merged": MERGED}, rotates=True, mixer=calls.DUAL_CHUNK, cache=partial(GrowingCache, calls.DUAL_CHUNK),
        cache_size=KEYS_AND_VALUES),
)
