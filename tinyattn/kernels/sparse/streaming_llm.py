"""StreamingLLM: a window at true distances and the first tokens at theirs, merged by their sums of exponentials."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.softmax.dot_product import attention_with_lse
from tinyattn.kernels.softmax.part import Call, Results, call_of
from tinyattn.kernels.steps.rotary import rotary_primitive, turned
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.rows import merged
from tinyattn.kernels.tiles.storage import sizes_of
from tinyattn.ops import masks
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.positions.frequencies import plain
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def streaming_llm_attention(q: Array, k: Array, v: Array, *, first: int, window: int, base: float = 10000.0,
                            scale: float | None = None) -> Array:
    """Returns attention to the first keys and the last ones, rotated by where they stand in a cache of first + window.

    Formula: up to position first + window - 1 nothing has been forgotten, and attention is causal. Of a later query the last
    `window` keys are at their true distances, and the first keys at that of the cache's last place, the same for all queries:
    the keys are rotated back by it once, and the queries are left unchanged.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), not rotated -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.streaming_llm_attention`.

    Paper: Xiao et al. 2023, arXiv:2309.17453.

    >>> import numpy as np
    >>> x = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    >>> streaming_llm_attention(x * 0, x * 0, x, first=1, window=1)[2]
    array([2.5, 0. ])
    """
    first, window = whole("first", first, 0), whole("window", window, 1)
    if q.shape[-1] % 2:
        raise ValueError(f"q: rotary positions rotate pairs of channels and need an even head_dim, got shape {q.shape}")
    plain(q.shape[-1], base)  # refuses by name what the lookup of kept angles could not hash
    start, kv_len, forgotten = first_position(q, k), k.shape[-2], first + window
    if first and kv_len > forgotten and not exact.few(sizes_of(q, k, v)):
        return streamed(q, k, v, first, window, base, check_scale(scale, q.shape[-1]))
    queries, keys = rotary_primitive(q, start, base), rotary_primitive(k, 0, base)
    near = attention_with_lse(queries, keys, v, mask=last_or_all(window, forgotten), causal=True, scale=scale)
    if not first or kv_len <= forgotten:
        return near[0]
    kept = rotary_primitive(k[..., :first, :], 1 - forgotten, base)
    # Of these keys alone, the last query stands at first - 1.
    far = attention_with_lse(q, kept, v[..., :first, :], mask=from_position(forgotten + first - kv_len), scale=scale)
    return merged(*near, *far)[0]


class Part(NamedTuple):
    """Some of the keys as the exact kernel reads them, and queries, keys and values with nothing hidden in them."""

    call: Call
    arrays: tuple[Array, Array, Array]


def part_of(q: Array, k: Array, v: Array, mask: Pattern, right: int | None, scale: float) -> Part:
    """Returns some of the keys and what is seen of them."""
    call = call_of(exact.Options(mask, None, right, scale, None, False), q.dtype, q.shape, k.shape, v.shape)
    return Part(call, call.blanked(q, k, v))


class Saved(NamedTuple):
    """What the backward reads: the last keys and the first ones, the results of both together, and how far keys are turned."""

    near: Part
    far: Part
    results: Results
    turn: tuple[int, int, float]


@once
@primitive
def streamed(q: Array, k: Array, v: Array, first: int, window: int, base: float, scale: float) -> tuple[Array, Saved]:
    """Returns attention to the last keys and the first ones, some of which are forgotten, and what the backward reads.

    It keeps the result of both together, and not those of each: their weights follow from its largest scores and sums.
    """
    start, kv_len, turn = k.shape[-2] - q.shape[-2], k.shape[-2], 1 - first - window
    queries, keys = turned(q, pages.empty(q.shape, q.dtype), start, base, 1), turned(k, pages.empty(k.shape, k.dtype), 0, base, 1)
    near = part_of(queries, keys, v, last_or_all(window, first + window), 0, scale)
    few = k[..., :first, :]
    # Of these keys alone, the last query stands at first - 1.
    far = part_of(q, turned(few, np.empty(few.shape, k.dtype), turn, base, 1), v[..., :first, :],
                  from_position(2 * first + window - kv_len), None, scale)
    results = near.call.solved(near.arrays)
    results.merge(far.call.solved(far.arrays))
    return results.out, Saved(near, far, results, (start, turn, base))


@streamed.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array]:
    (start, turn, base), results = saved.turn, saved.results
    near = saved.near.call.pulled(saved.near.arrays, d_out, results)
    for name, place in (("q", start), ("k", 0)):
        near[name] = turned(near[name], pages.empty(near[name].shape, near[name].dtype), place, base, -1)
    far = saved.far.call.pulled(saved.far.arrays, d_out, results)
    first = far["k"].shape[-2]
    near["q"] += far["q"]
    near["k"][..., :first, :] += turned(far["k"], np.empty(far["k"].shape, far["k"].dtype), turn, base, -1)
    near["v"][..., :first, :] += far["v"]
    return {name: near[name] for name in ("q", "k", "v")}


@lru_cache(maxsize=16)
def last_or_all(window: int, forgetting: int) -> Pattern:
    """Returns the last `window` keys, and all keys for queries before the position from which on some are forgotten."""
    return Constant(masks.window(window - 1, None) | ~from_position(forgetting))


def from_position(place: int) -> Pattern:
    """Returns whether the query stands at a position or later."""
    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        return i1 >= place, i0 >= place

    return Pattern(lambda i, j: i >= place, corners=corners)
