"""Attention that scores how tokens relate, pair by pair: in loops over positions, from the formulas alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.problem import repeat_heads
from tinyattn.ops.types import Array


def pair_by_pair(q: Array, k: Array, score: Callable[[int, int], Array]) -> Array:
    """Returns score(i, j) of every query i and key j, (..., heads, i, j), where a score has the shape (..., heads)."""
    rows = [np.stack([score(i, j) for j in range(k.shape[-2])], axis=-1) for i in range(q.shape[-2])]
    return np.stack(rows, axis=-2) if rows else np.zeros((*q.shape[:-1], k.shape[-2]), q.dtype)


def read_by(q: Array, k: Array, v: Array, scores: Array, *, softcap: float | None = None, bias: Any = None,
            **options: Any) -> Any:
    """Returns the values weighted by the softmax of these scores, after the cap and the bias."""
    scores = scores if softcap is None else softcap * np.tanh(scores / softcap)
    return definitions.attention(0.0 * q, 0.0 * k, v, bias=scores if bias is None else scores + bias, **options)


def angles(q: Array, k: Array, v: Array, *, log_scale: Array, **options: Any) -> Any:
    """Returns attention to products divided by both lengths, one pair after the other."""
    factor, keys = np.exp(np.where(log_scale < np.log(100.0), log_scale, np.log(100.0))), repeat_heads(q, k)[0]

    def cosine(i: int, j: int) -> Array:
        dots, squares = (np.sum(a * b, axis=-1) for a, b in ((q[..., i, :], keys[..., j, :]), (q[..., i, :], q[..., i, :])))
        others = np.sum(keys[..., j, :] ** 2, axis=-1)
        empty = (squares == 0) | (others == 0)
        lengths = np.sqrt(np.where(empty, 1.0, squares)) * np.sqrt(np.where(empty, 1.0, others))
        return np.where(empty, 0.0, factor * dots / lengths)

    return read_by(q, k, v, pair_by_pair(q, k, cosine).astype(q.dtype), **options)


def normalised_by_rms(q: Array, k: Array, v: Array, *, log_scale: Array, **options: Any) -> Any:
    """Returns QK-norm attention with the scale exp(t) / d, for one t of all heads."""
    return definitions.qk_norm_attention(q, k, v, **{**options, "scale": float(np.exp(log_scale[0])) / q.shape[-1]})
