"""Dual chunk attention: the exact kernel on a query's own chunk, the one before and all earlier ones, merged."""

from __future__ import annotations

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention_with_lse
from tinyattn.kernels.tiles.rows import merged, turned
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import check_scale
from tinyattn.ops.positions.chunks import check_chunks
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


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
    inside, keys = q_at % chunk, turned(k, k_at % chunk, base, interleaved)

    def part(at: Array, least: int, farthest: int | None) -> tuple[Array, Array]:
        seen = chunks_apart(k_at // chunk, least, farthest)
        return attention_with_lse(turned(q, at, base, interleaved), keys, v, mask=seen, causal=True, scale=scale)

    own = part(inside, 0, 0)
    if not len(q_at) or q_at[-1] // chunk == k_at[0] // chunk:
        return own[0]
    before = part(np.minimum(inside + chunk, most), 1, 1)
    return merged(*merged(*own, *before), *part(np.full_like(q_at, most), 2, None))[0]


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
