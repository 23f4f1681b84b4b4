"""DCA, dual chunk attention: rotary positions that never grow beyond those of training."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions.softmax.lse import attention_with_lse
from tinyattn.ops.checks import index_array, whole
from tinyattn.ops.heads import fold_group, split_group, unfold_group
from tinyattn.ops.merge import merge
from tinyattn.ops.options import check_scale
from tinyattn.ops.positions.frequencies import plain_frequencies
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def dual_chunk_attention(q: Array, k: Array, v: Array, *, chunk: int, local: int, base: float = 10000.0, clamp: str = "paper",
                         positions: Array | None = None, interleaved: bool = False, scale: float | None = None) -> Array:
    """Returns causal rotary attention in which no two tokens are further apart than chunk + local.

    Formula: s_ij = scale q_i . R(p_ij - j mod s) k_j over j <= i, R the rotation by a distance, s = chunk; p_ij = i mod s
    for keys of the query's own chunk, min(i mod s + s, c_max) for those of the chunk before, c_max for all earlier ones. So
    the distance is i - j within a chunk and for neighbours. c_max is chunk + local - 1 (clamp="paper") or
    min(2 chunk - 1, chunk + local) ("code", as its authors wrote it).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), not rotated -> (..., heads, i, e).

    Args:
        q: queries, the last q_len tokens.
        k: keys.
        v: values.
        chunk: tokens of a chunk.
        local: tokens at least whose distance is told exactly across chunks.
        base: of the rotary frequencies.
        clamp: "paper" or "code".
        positions: (kv_len,) whole numbers, each larger than the one before; None is 0, 1, ...
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
    scale, kv_heads = check_scale(scale, q.shape[-1]), k.shape[-3]
    chunk, most, k_at = check_chunks(q, k, chunk, local, clamp, positions)
    q_at = k_at[k.shape[-2] - q.shape[-2] :, None]
    scores = turned_products(q * scale, k, distances(q_at, k_at, chunk, most), base, interleaved)
    return unfold_group(fold_group(softmax(scores, k_at <= q_at), kv_heads) @ v, q.shape[-3])


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def dual_chunk_attention_merged(q: Array, k: Array, v: Array, *, chunk: int, local: int, base: float = 10000.0,
                                clamp: str = "paper", positions: Array | None = None, interleaved: bool = False,
                                scale: float | None = None) -> Array:
    """Returns the same as three attentions, to the own chunk, the one before and all earlier ones, merged by their sums.

    Formula: keys rotated by j mod s, once; queries by i mod s, by min(i mod s + s, c_max) and by c_max; (out, lse) of each,
    as `attention_with_lse`; out = sum_p exp(lse_p - lse) out_p.

    Shapes: as `dual_chunk_attention`.

    Raises:
        TypeError, ValueError: as `dual_chunk_attention`.

    Paper: An et al. 2024, arXiv:2402.17463.

    >>> x = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> dual_chunk_attention_merged(x * 0, x, x, chunk=1, local=1)
    array([[1., 0.],
           [2., 0.]])
    """
    chunk, most, k_at = check_chunks(q, k, chunk, local, clamp, positions)
    q_at = k_at[k.shape[-2] - q.shape[-2] :]
    apart = q_at[:, None] // chunk - k_at // chunk
    inside = q_at % chunk
    keys = rotary(k, k_at % chunk, base=base, interleaved=interleaved)

    def part(at: Array, seen: Array) -> tuple[Array, Array]:
        return attention_with_lse(rotary(q, at, base=base, interleaved=interleaved), keys, v, mask=seen, scale=scale)

    own = part(inside, (apart == 0) & (k_at <= q_at[:, None]))
    before = part(np.minimum(inside + chunk, most), apart == 1)
    earlier = part(np.full_like(q_at, most), apart > 1)
    return merge(merge(own, before), earlier)[0]


def distances(q_at: Array, k_at: Array, chunk: int, most: int) -> Array:
    """Returns what each pair is taken to be apart; queries (i, 1) and keys (j,) by their positions -> (i, j).

    >>> distances(np.arange(5)[:, None], np.arange(5), 2, 2)[4]
    array([2, 1, 2, 1, 0])
    """
    apart, inside = q_at // chunk - k_at // chunk, q_at % chunk
    return np.where(apart == 0, inside, np.where(apart == 1, np.minimum(inside + chunk, most), most)) - k_at % chunk


def turned_products(q: Array, k: Array, distance: Array, base: float, interleaved: bool) -> Array:
    """Returns q_i . R(distance_ij) k_j, one pair (a, b) of channels after the other.

    (q_a k_a + q_b k_b) cos + (q_a k_b - q_b k_a) sin of distance * frequency: no vector is rotated.
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


def check_chunks(q: Array, k: Array, chunk: int, local: int, clamp: str, positions: Any) -> tuple[int, int, Array]:
    """Returns the chunk, the largest position of a query, and the positions of the keys."""
    chunk, local = whole("chunk", chunk, 1), whole("local", local, 1)
    if clamp not in ("paper", "code"):
        raise ValueError(f"clamp: expected 'paper' or 'code', got {clamp!r}")
    q_len, kv_len = q.shape[-2], k.shape[-2]
    if q_len > kv_len:
        raise ValueError(f"q: expected q_len <= kv_len, got q {q.shape} and k {k.shape}")
    if q.shape[-1] % 2:
        raise ValueError(f"q: rotary positions need an even head_dim, got shape {q.shape}")
    most = chunk + local - 1 if clamp == "paper" else min(2 * chunk - 1, chunk + local)
    if positions is None:
        return chunk, most, np.arange(kv_len)
    index_array("positions", positions)
    if positions.shape != (kv_len,):
        raise ValueError(f"positions: expected shape ({kv_len},), one for each key, got shape {positions.shape}")
    at = positions.astype(np.int64)
    if np.any(at[1:] <= at[:-1]):
        raise ValueError(f"positions: expected each to be larger than the one before, got {positions}")
    return chunk, most, at
