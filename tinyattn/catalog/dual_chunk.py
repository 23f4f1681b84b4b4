"""The row of dual chunk attention: rotary positions held below a bound."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.caches.growing import GrowingCache
from tinyattn.catalog.contextual import one_of, small
from tinyattn.catalog.recurrent import mixing
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.catalog.softmax import grown
from tinyattn.catalog.variants import at_most_keys, even, laws, with_options
from tinyattn.laws.draw import both, softmax
from tinyattn.laws.forms import agrees, but, slopes_agree
from tinyattn.laws.gradient import sloped
from tinyattn.laws.law import Law
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.score import plain
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.types import Array


def gaps(rng: np.random.Generator, p: Problem) -> Array | None:
    """Positions with gaps between them, or none."""
    return np.cumsum(rng.integers(1, 4, p.k.shape[-2])) if rng.random() < 0.5 else None


FITS = both(at_most_keys, even)
CHUNKS: dict[str, Any] = {"chunk": one_of(1, 2, 3, 5), "local": one_of(1, 2, 3), "clamp": one_of("paper", "code"),
                          "interleaved": one_of(False, True), "base": one_of(10.0, 10000.0)}
DUAL = with_options(softmax("scale", fit=FITS), **CHUNKS, positions=gaps)
IN_ORDER = with_options(softmax("scale", fit=FITS), **CHUNKS)


def turned(q: Array, k: Array, v: Array, *, base: float, interleaved: bool, scale: float | None = None, **_chunks: Any) -> Any:
    """Causal attention on rotated queries and keys."""
    q, k = (rotary(x, np.arange(k.shape[-2])[k.shape[-2] - x.shape[-2] :], base=base, interleaved=interleaved) for x in (q, k))
    return definitions.attention(q, k, v, causal=True, scale=scale)


def unturned(q: Array, k: Array, v: Array, *, scale: float | None = None, **_chunks: Any) -> Any:
    """Causal attention."""
    return definitions.attention(q, k, v, causal=True, scale=scale)


def hardly_turning(p: Problem) -> Problem:
    """Frequencies of nearly 0, and nothing in the one pair of channels that always turns."""
    still = np.arange(p.q.shape[-1]) % (p.q.shape[-1] // 2) > 0
    return p.but(q=p.q * still, k=p.k * still, base=1e300, interleaved=False).astype(p.q.dtype)


def two_chunks(p: Problem) -> Problem:
    """Two chunks at most, and a reach over both."""
    chunk = -(-p.k.shape[-2] // 2)
    return p.but(chunk=chunk, local=chunk)


def chunks_later(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """All tokens a few chunks further on."""
    return plain(f, p.but(positions=np.arange(p.k.shape[-2]) + 3 * p.options["chunk"]))


MERGED = definitions.dual_chunk_attention_merged
MIXER = mixing(partial(MERGED, chunk=64, local=16))
ROWS = (
    Row("dual_chunk_attention", "Rotary positions that never grow beyond those of training.", definitions.dual_chunk_attention,
        (Paper("An et al.", 2024, "2402.17463"),), "exact", "heads i j (d + e)", DUAL,
        (agrees("three_merged", MERGED, draw=DUAL, says="Attention to each of the three parts, merged by its sum, is one softmax."),
         slopes_agree("three_merged", MERGED, draw=but(with_options(sloped("scale"), **CHUNKS), lambda p: p, fit=FITS)),
         Law("one_chunk_is_rotary_attention", "A chunk as long as the text is rotary attention.",
             but(IN_ORDER, lambda p: p.but(chunk=p.k.shape[-2])), plain, lambda f, p: plain(turned, p), to="attention"),
         Law("two_chunks_in_reach_are_rotary_attention", "Two chunks, the reach as long as one, are rotary attention.",
             but(IN_ORDER, two_chunks), plain, lambda f, p: plain(turned, p), to="attention"),
         Law("where_nothing_turns_it_is_attention", "Where no channel turns it is causal attention.", but(IN_ORDER, hardly_turning),
             plain, lambda f, p: plain(unturned, p), to="attention"),
         Law("chunks_later_is_the_same", "All tokens a few chunks further on give the same, bit for bit.", IN_ORDER, plain,
             chunks_later, exact=True),
         Law("code_reaches_one_token_further", "Below a chunk, the authors' code with a reach is their paper with one token more.",
             but(IN_ORDER, lambda p: p.but(clamp="code", chunk=p.options["local"] + 1)), plain,
             lambda f, p: plain(f, p.but(clamp="paper", local=p.options["local"] + 1)), exact=True),
         *laws(IN_ORDER, mixing(MERGED))),
        (BadInput({"chunk": 0}, ValueError, ("chunk", "0")), BadInput({"local": 0}, ValueError, ("local", "0")),
         BadInput({"clamp": "papr"}, ValueError, ("clamp", "papr", "code")), BadInput({"base": 0.5}, ValueError, ("base", "0.5")),
         BadInput({"positions": np.zeros(3)}, TypeError, ("positions", "float64"))),
        aliases=("dca-dual", "dual chunk", "chunkllama", "qwen2.5-1m"), forms={"merged": MERGED}, rotates=True, mixer=MIXER,
        cache=partial(GrowingCache, MIXER), fit=small, cache_bytes=grown,
        cache_formula="length kv_heads (head_dim + value_dim) itemsize"),
)
