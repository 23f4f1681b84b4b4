"""Problems of sparse attention: patterns, tables of blocks, windows with something more, keys that queries choose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.laws.draw.options import but, given, like, on, one_of, uniform, with_options
from tinyattn.laws.draw.sizes import Fit, at_least, at_least_seven, both, even, few_rows, few_rows_own_heads, square
from tinyattn.laws.draw.softmax import softmax
from tinyattn.laws.law import Draw
from tinyattn.laws.problem import Problem, Sizes, repeat_heads
from tinyattn.ops import masks
from tinyattn.ops.draws import lsh_rotations
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.masks.published import ends, near_blocks
from tinyattn.ops.types import Array

BACK = (masks.sliding_window(3), masks.causal() & masks.block_local(3), masks.strided(3), masks.dilated(2, 2), masks.fixed(3, 1),
        masks.causal() & masks.look_back(2), masks.causal() & (masks.sliding_window(2) | masks.first(2)))
AROUND = (masks.window(2, 1), masks.window(1, 1) | masks.global_tokens([0, 3]), near_blocks(2) | masks.random_blocks(2, 1, 5),
          near_blocks(1) | ends(2, 9), masks.shifted_blocks(4, 2), Pattern(lambda i, j: (i - j) % 3 == 1))
SPARSE = softmax("scale", fit=few_rows)
STATIC = with_options(SPARSE, mask=one_of(*BACK, *AROUND), block=one_of(1, 2, 3, 16))
STATIC_BACK = with_options(SPARSE, mask=one_of(*BACK), block=one_of(1, 2, 3, 16))
OF_HEADS = with_options(STATIC, mask=lambda rng, p: masks.sharded(p.q.shape[-3], size=2, local=1, stride=3) | one_of(*BACK)(rng, p))
SHARDS = with_options(SPARSE, size=one_of(1, 2, 3), local=one_of(1, 2), stride=one_of(1, 2, 3, 4))
TIED = with_options(SPARSE, global_tokens=one_of([], [0], [0, 3], [2, 5]), window=one_of(0, 1, 2))
PROJECTED = with_options(TIED, q_global=like("q"), k_global=like("k"), v_global=like("v"))
BIGBIRD = with_options(SPARSE, block=one_of(1, 2, 3), random=one_of(0, 1, 2), seed=one_of(0, 1), causal=one_of(False, True))
BIGBIRD_CAUSAL = given(BIGBIRD, causal=True)
STREAMING = with_options(softmax("scale", fit=both(few_rows, even)), first=one_of(0, 1, 2, 3), window=one_of(1, 2, 4))
GROUPS = with_options(SPARSE, group=one_of(2, 4, 6), causal=one_of(True, False))
GROUPS_CAUSAL = given(GROUPS, causal=True)


def seen(*patterns: Pattern, fit: Fit = square) -> Draw:
    """Returns the drawing of problems with one of these patterns."""
    return with_options(on(STATIC, fit), mask=one_of(*patterns))


def last_key_hidden(p: Problem) -> Problem:
    """Returns the problem with its last key hidden from all queries."""
    return p.but(mask=p.options["mask"] & masks.first(p.k.shape[-2] - 1))


def tables(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws a problem with a table of blocks for all heads, or with one per head."""
    p = softmax("scale", "causal", fit=few_rows)(rng, sizes)
    q_block, kv_block = (int(n) for n in rng.integers(1, 4, 2))
    lead = ((), p.q.shape[-3:-2])[int(rng.integers(2))]
    shape = (*lead, -(-p.q.shape[-2] // q_block), -(-p.k.shape[-2] // kv_block))
    return p.but(blocks=rng.random(shape) < 0.6, q_block=q_block, kv_block=kv_block)


def one_table(p: Problem) -> Problem:
    """Returns the problem with the first head's table for all heads."""
    table = p.options["blocks"]
    return p.but(blocks=table if table.ndim == 2 else table[0])


def pairs_of_blocks(p: Problem, blocks: Array) -> Array:
    """Returns the table of pairs that a table of blocks stands for."""
    rows = np.repeat(blocks, p.options["q_block"], axis=-2)[..., : p.q.shape[-2], :]
    return np.repeat(rows, p.options["kv_block"], axis=-1)[..., : p.k.shape[-2]]


def eighths(p: Problem) -> Problem:
    """Returns the problem with queries and keys in whole eighths and a scale that is a power of two, so that scores are exact.

    Two scores that are equal in theory and differ by a rounding would be chosen by one form and not by the other.
    """
    return p.but(q=np.round(8.0 * p.q) / 8.0, k=np.round(8.0 * p.k) / 8.0, scale=p.options.get("scale", 0.5))


def choosing(*names: str, **make: Any) -> Draw:
    """Returns the drawing of problems whose scores are exact, with these options."""
    return with_options(but(softmax("scale", *names, fit=both(few_rows, at_least(head_dim=2))), eighths), **make)


def rotations(hashes: int) -> Callable[[np.random.Generator, Problem], Array]:
    """Returns a maker of the rotations of this number of hashes with four buckets each."""
    return lambda rng, p: lsh_rotations(rng, hashes, p.q.shape[-1], 4).astype(p.q.dtype)


TOP = choosing("causal", keep=one_of(1, 2, 3, 5))
NATIVE = on(choosing(gates=uniform(lambda p: (*p.q.shape[:-1], 3)), block=one_of(1, 1, 2, 4), selected=one_of(1, 3, 4, 5),
                      window=one_of(1, 2, 4)), at_least_seven)
MIXTURE = choosing(block=one_of(1, 2, 4), keep=one_of(1, 2, 3))
HASHED = with_options(softmax("scale", "causal", fit=few_rows_own_heads), rotations=rotations(2), chunk=one_of(1, 2, 3, 13))


def texts(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws one of four texts of 24 tokens, each the same whenever it is drawn."""
    chunk = int(rng.integers(4, 8))
    draw = np.random.default_rng(chunk)
    q, v = draw.standard_normal((1, 2, 24, 4)), draw.standard_normal((1, 2, 24, 3))
    return Problem(q, q, v, {"chunk": chunk, "rotations": q})


def with_gates(*values: float) -> Callable[[Problem], Problem]:
    """Returns the change of a problem that gives every query these three gates."""
    return lambda p: p.but(gates=np.zeros_like(p.options["gates"]) + np.asarray(values, p.q.dtype))


def own_key_best(p: Problem) -> Problem:
    """Returns the problem with queries that equal their own keys, of length 1: no key scores above the query's own."""
    k = p.k + 0.1 * np.cos(np.arange(p.k.size)).reshape(p.k.shape).astype(p.k.dtype)  # no two alike
    k = k / np.linalg.norm(k, axis=-1, keepdims=True)
    own = repeat_heads(p.q, k)[0][..., k.shape[-2] - p.q.shape[-2] :, :]
    return p.but(q=own, k=k, block=1)
