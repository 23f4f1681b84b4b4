"""Dual chunk attention: the exact kernel on a query's own chunk, the one before and all earlier ones, merged."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact.primitive import Options, few
from tinyattn.kernels.softmax.dot_product import attention_with_lse
from tinyattn.kernels.softmax.part import Call, Results, by_group, call_of, room_for, some_of
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.rows import merged, turn, turned
from tinyattn.kernels.tiles.storage import sizes_of
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import check_scale
from tinyattn.ops.positions.chunks import check_chunks
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

# Numbers of the queries of the heads that are computed at once.
TOGETHER = 1 << 20


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def dual_chunk_attention(q: Array, k: Array, v: Array, *, chunk: int, local: int, base: float = 10000.0, clamp: str = "paper",
                         positions: Array | None = None, interleaved: bool = False, scale: float | None = None) -> Array:
    """Returns causal rotary attention in which no two tokens are further apart than chunk + local.

    Formula: keys rotated by j mod s, once; queries by i mod s, by min(i mod s + s, c_max) and by c_max for the keys of their
    own chunk, of the one before and of all earlier ones; (out, lse) of each part, merged.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), not rotated -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.dual_chunk_attention`.

    Paper: An et al. 2024, arXiv:2402.17463.

    >>> x = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> dual_chunk_attention(x * 0, x, x, chunk=1, local=1)
    array([[1., 0.],
           [2., 0.]])
    """
    scale = check_scale(scale, q.shape[-1])
    chunk, most, k_at = check_chunks(q, k, chunk, local, clamp, positions)
    q_at = k_at[k.shape[-2] - q.shape[-2] :]
    inside, chunks = q_at % chunk, k_at // chunk
    parts = [Keys(inside, chunks_apart(chunks, 0, 0))]
    if len(q_at) and q_at[-1] // chunk != k_at[0] // chunk:
        parts += [Keys(np.minimum(inside + chunk, most), chunks_apart(chunks, 1, 1)),
                  Keys(np.full_like(q_at, most), chunks_apart(chunks, 2, None))]
    turning = Turning(k_at % chunk, base, interleaved)
    return (one_by_one if few(sizes_of(q, k, v)) else some_heads_at_a_time)(q, k, v, parts, turning, scale)


class Keys(NamedTuple):
    """Some of the keys: where their queries stand, and which of them see which."""

    q_at: Array
    seen: Pattern


class Turning(NamedTuple):
    """Where the keys stand, and how vectors are turned by where they stand."""

    k_at: Array
    base: float
    interleaved: bool

    def turned(self, x: Array, at: Array, sign: int = 1) -> Array:
        """Returns plain x turned by its positions, or turned back with a sign of -1."""
        return turn(x, at, self.base, self.interleaved, sign)


def one_by_one(q: Array, k: Array, v: Array, parts: list[Keys], turning: Turning, scale: float) -> Array:
    """Returns the attention to all parts, each computed for all heads and kept."""
    _, base, interleaved = turning
    keys, found = turned(k, turning.k_at, base, interleaved), []
    for at, seen in parts:
        found.append(attention_with_lse(turned(q, at, base, interleaved), keys, v, mask=seen, causal=True, scale=scale))
    return reduce(lambda one, other: merged(*one, *other), found)[0]


class Saved(NamedTuple):
    """What the backward reads: arrays by kv head, not turned, and the results of all parts together."""

    parts: list[Keys]
    turning: Turning
    scale: float
    shapes: list[tuple[int, ...]]
    arrays: list[Array]
    results: Results

    def calls(self) -> Iterator[tuple[slice, list[Call]]]:
        """Yields some kv heads at a time, with a call for each part of the keys; shapes alone say how many."""
        q, k, v = self.arrays
        made: dict[int, list[Call]] = {}
        for some in some_of(len(q), q.size, TOGETHER):
            count = some.stop - some.start
            if count not in made:
                made[count] = [call_of(Options(part.seen, None, 0, self.scale, None, False), q.dtype,
                                       *((count, *x.shape[1:]) for x in (q, k, v))) for part in self.parts]
            yield some, made[count]


@once
@primitive
def some_heads_at_a_time(q: Array, k: Array, v: Array, parts: list[Keys], turning: Turning, scale: float) -> tuple[Array, Saved]:
    """Returns the attention to all parts, and what the backward reads, which turns queries and keys once more."""
    out = pages.empty((*q.shape[:-1], v.shape[-1]), q.dtype)
    arrays = [by_group(x, k.shape[-3]) for x in (q, k, v)]
    saved = Saved(parts, turning, scale, [x.shape for x in (q, k, v)], arrays, room_for(by_group(out, k.shape[-3])))
    queries, keys, values = arrays
    for some, calls in saved.calls():
        near, results = turning.turned(keys[some], turning.k_at), saved.results.of(some)
        for n, (part, call) in enumerate(zip(parts, calls, strict=True)):
            found = call.solved(call.blanked(turning.turned(queries[some], part.q_at), near, values[some]))
            if n:
                results.merge(found)
            else:
                results.put(found)
    return out, saved


@some_heads_at_a_time.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array]:
    (queries, keys, values), turning, d_outs = saved.arrays, saved.turning, d_out.reshape(saved.results.out.shape)
    d_q, d_k, d_v = (pages.zeros(x.shape, x.dtype) for x in saved.arrays)
    for some, calls in saved.calls():
        near = turning.turned(keys[some], turning.k_at)
        for part, call in zip(saved.parts, calls, strict=True):
            arrays = call.blanked(turning.turned(queries[some], part.q_at), near, values[some])
            found = call.pulled(arrays, d_outs[some], saved.results.of(some))
            d_q[some] += turning.turned(found.pop("q"), part.q_at, -1)
            d_k[some] += found.pop("k")
            d_v[some] += found.pop("v")
        d_k[some] = turning.turned(d_k[some], turning.k_at, -1)
    return {name: x.reshape(shape) for name, x, shape in zip("qkv", (d_q, d_k, d_v), saved.shapes, strict=True)}


def chunks_apart(chunks: Array, least: int, most: int | None) -> Pattern:
    """Returns whether the key's chunk is `least` to `most` chunks before the query's; `chunks` are those of the positions."""
    def between(near: Array, far: Array) -> Array:
        return (far >= least) & (most is None or near <= most)

    def see(i: Array, j: Array) -> Array:
        apart = chunks[i] - chunks[j]
        return between(apart, apart)

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Array, Array]:
        nearest, farthest = chunks[i0] - chunks[j1], chunks[i1] - chunks[j0]
        return between(nearest, farthest), between(farthest, nearest)

    return Pattern(see, corners=corners)
