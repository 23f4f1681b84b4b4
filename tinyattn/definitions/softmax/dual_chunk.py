"""DCA, dual chunk attention: rotary positions that never grow beyond those of training."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.heads import split_group
from tinyattn.ops.options import check_scale
from tinyattn.ops.positions.chunks import check_chunks
from tinyattn.ops.positions.frequencies import plain_frequencies
from tinyattn.ops.scores import weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def dual_chunk_attention(q: Array, k: Array, v: Array, *, chunk: int, local: int, base: float = 10000.0, clamp: str = "paper",
                         positions: Array | None = None, interleaved: bool = False, scale: float | None = None) -> Array:
    """Returns causal rotary attention in which no two tokens are further apart than chunk + local.

    Formula: s_ij = scale q_i . R(p_ij - j mod s) k_j over j <= i, where R rotates by a distance and s = chunk; p_ij = i mod s
    for keys of the query's own chunk, min(i mod s + s, c_max) for keys of the chunk before, c_max for all earlier keys. The
    distance is thus exactly i - j within a chunk and for nearby tokens of the chunk before. c_max is chunk + local - 1
    (clamp="paper") or min(2 chunk - 1, chunk + local) (clamp="code", as its authors wrote it).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), not rotated -> (..., heads, i, e).

    Args:
        q: queries, the last q_len tokens.
        k: keys.
        v: values.
        chunk: tokens per chunk.
        local: up to this distance, tokens of neighbouring chunks have their exact distance.
        base: the base of the rotary frequencies.
        clamp: "paper" or "code".
        positions: (kv_len,) integers, each larger than the one before; None is 0, 1, ...
        interleaved: as `rotary`.
        scale: None is d ** -0.5.

    Raises:
        TypeError, ValueError: sizes below 1, an unknown clamp, positions of another kind, shape or order, q_len above kv_len.

    Paper: An et al. 2024, arXiv:2402.17463.

    >>> x = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> dual_chunk_attention(x * 0, x, x, chunk=1, local=1)
    array([[1., 0.],
           [2., 0.]])
    """
    scale = check_scale(scale, q.shape[-1])
    chunk, most, k_at = check_chunks(q, k, chunk, local, clamp, positions)
    q_at = k_at[k.shape[-2] - q.shape[-2] :, None]
    scores = turned_products(q * scale, k, distances(q_at, k_at, chunk, most), base, interleaved)
    return weighted_values(softmax(scores, k_at <= q_at), v)


def distances(q_at: Array, k_at: Array, chunk: int, most: int) -> Array:
    """Returns the distance (i, j) that each pair is rotated by, from the positions of queries (i, 1) and keys (j,).

    >>> distances(np.arange(5)[:, None], np.arange(5), 2, 2)[4]
    array([2, 1, 2, 1, 0])
    """
    apart, inside = q_at // chunk - k_at // chunk, q_at % chunk
    return np.where(apart == 0, inside, np.where(apart == 1, np.minimum(inside + chunk, most), most)) - k_at % chunk


def turned_products(q: Array, k: Array, distance: Array, base: float, interleaved: bool) -> Array:
    """Returns q_i . R(distance_ij) k_j, summed over pairs (a, b) of channels.

    Each pair adds (q_a k_a + q_b k_b) cos + (q_a k_b - q_b k_a) sin of distance * frequency, so that no vector is rotated.
    """
    rows, keys, width = split_group(q, k.shape[-3]), k[..., None, :, :], q.shape[-1]
    rates = plain_frequencies(width, base=base).values
    pairs = (range(0, width, 2), range(1, width, 2)) if interleaved else (range(width // 2), range(width // 2, width))
    scores = np.zeros(distance.shape, q.dtype)
    for a, b, rate in zip(*pairs, rates, strict=True):
        (q_a, k_a), (q_b, k_b) = ((rows[..., :, n, None], keys[..., None, :, n]) for n in (a, b))
        cos, sin = (f(distance * rate).astype(q.dtype) for f in (np.cos, np.sin))
        scores = scores + (q_a * k_a + q_b * k_b) * cos + (q_a * k_b - q_b * k_a) * sin
    return scores.reshape(*q.shape[:-1], k.shape[-2])
