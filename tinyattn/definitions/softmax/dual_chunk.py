"""DCA, dual chunk attention: rotary positions that never grow beyond those of training."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.definitions.softmax.dot_product import attention_with_lse
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.masks.constructors import whole
from tinyattn.ops.merge import merge
from tinyattn.ops.options import check_scale
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def dual_chunk_attention(q: Array, k: Array, v: Array, *, chunk: int, local: int, base: float = 10000.0, clamp: str = "paper",
                         positions: Array | None = None, interleaved: bool = False, scale: float | None = None) -> Array:
    """Returns causal attention whose relative positions stay below chunk + local.

    Formula: keys are rotated by j mod s, s = chunk. Queries by i mod s for keys of their own chunk, by
    min(i mod s + s, c_max) for those of the chunk before, by c_max for all earlier ones; one softmax over all. So the
    distance is i - j within a chunk and for neighbours, and clamped further away. c_max is chunk + local - 1
    (clamp="paper") or min(2 chunk - 1, chunk + local) ("code", as its authors wrote it).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), not rotated -> (..., heads, i, e).

    Args:
        q: queries, the last q_len tokens.
        k: keys.
        v: values.
        chunk: tokens of a chunk.
        local: tokens at least whose distance is told exactly across chunks.
        base: of the rotary frequencies.
        clamp: "paper" or "code".
        positions: (kv_len,) whole numbers, increasing; None is 0, 1, ...
        interleaved: as `rotary`.
        scale: None is d ** -0.5.

    Raises:
        TypeError, ValueError: sizes below 1, an unknown clamp, positions of another kind or shape, q_len above kv_len.

    Paper: An et al. 2024, arXiv:2402.17463.

    >>> x = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> dual_chunk_attention(x * 0, x, x, chunk=1, local=1)
    array([[1., 0.],
           [2., 0.]])
    """
    turned = turns(q, k, chunk, local, base, clamp, positions, interleaved)
    scale, kv_heads = check_scale(scale, q.shape[-1]), k.shape[-3]
    intra, succ, inter = (unfold_group(fold_group(x * scale, kv_heads) @ turned.keys.mT, q.shape[-3]) for x in turned.queries)
    scores = np.where(turned.chunks == 0, intra, np.where(turned.chunks == 1, succ, inter))
    return unfold_group(fold_group(softmax(scores, turned.visible), kv_heads) @ v, q.shape[-3])


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def dual_chunk_attention_merged(q: Array, k: Array, v: Array, *, chunk: int, local: int, base: float = 10000.0,
                                clamp: str = "paper", positions: Array | None = None, interleaved: bool = False,
                                scale: float | None = None) -> Array:
    """Returns the same as three attentions, to the own chunk, the one before and all earlier ones, merged by their sums.

    Formula: (out, lse) of each part, as `attention_with_lse`; out = sum_p exp(lse_p - lse) out_p.

    Shapes: as `dual_chunk_attention`.

    Raises:
        TypeError, ValueError: as `dual_chunk_attention`.

    Paper: An et al. 2024, arXiv:2402.17463.

    >>> x = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> dual_chunk_attention_merged(x * 0, x, x, chunk=1, local=1)
    array([[1., 0.],
           [2., 0.]])
    """
    turned = turns(q, k, chunk, local, base, clamp, positions, interleaved)
    parts = [attention_with_lse(x, turned.keys, v, mask=(np.minimum(turned.chunks, 2) == n) & turned.visible, scale=scale)
             for n, x in enumerate(turned.queries)]
    return merge(merge(parts[0], parts[1]), parts[2])[0]


class Turned(NamedTuple):
    """Rotated queries (own chunk, the one before, earlier ones), rotated keys, chunks between a pair, who sees whom."""

    queries: tuple[Array, Array, Array]
    keys: Array
    chunks: Array
    visible: Array


def turns(q: Array, k: Array, chunk: int, local: int, base: float, clamp: str, positions: Any, interleaved: bool) -> Turned:
    """Returns the three rotations of the queries, and that of the keys."""
    chunk, local = whole("chunk", chunk, 1), whole("local", local, 1)
    if clamp not in ("paper", "code"):
        raise ValueError(f"clamp: expected 'paper' or 'code', got {clamp!r}")
    q_len, kv_len = q.shape[-2], k.shape[-2]
    if q_len > kv_len:
        raise ValueError(f"q: expected q_len <= kv_len, got q {q.shape} and k {k.shape}")
    if positions is None:
        positions = np.arange(kv_len)
    elif not isinstance(positions, np.ndarray) or positions.dtype.kind not in "iu":
        raise TypeError(f"positions: expected an integer array, got {getattr(positions, 'dtype', type(positions).__name__)}")
    elif positions.shape != (kv_len,):
        raise ValueError(f"positions: expected shape ({kv_len},), one for each key, got shape {positions.shape}")
    mine = positions[kv_len - q_len :]
    most = chunk + local - 1 if clamp == "paper" else min(2 * chunk - 1, chunk + local)
    places = mine % chunk, np.minimum(mine % chunk + chunk, most), np.full_like(mine, most)

    def turn(x: Array, at: Array) -> Array:
        return rotary(x, at, base=base, interleaved=interleaved)

    return Turned((turn(q, places[0]), turn(q, places[1]), turn(q, places[2])), turn(k, positions % chunk),
                  mine[:, None] // chunk - positions // chunk, positions <= mine[:, None])
