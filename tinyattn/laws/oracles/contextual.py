"""Attention whose distances depend on the tokens, written another way; and dual chunk attention's limits."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.problem import Problem, repeat_heads
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.types import Array


def behind(q: Array, k: Array) -> Array:
    """Returns how far key j stands behind query i, (i, j), the last query aligned with the last key."""
    return np.arange(k.shape[-2] - q.shape[-2], k.shape[-2])[:, None] - np.arange(k.shape[-2])


def log_ramp_as_bias(q: Array, k: Array, v: Array, *, span: Array, ramp: float, bias: Any = None, **options: Any) -> Any:
    """Returns attention with a bias, computed pair by pair: log m, or -inf where m is 0."""
    log_m = np.full((*q.shape[:-1], k.shape[-2]), -np.inf, q.dtype)
    for i, j in np.ndindex(log_m.shape[-2:]):
        m = 1.0 + (span[..., i] - abs(i + k.shape[-2] - q.shape[-2] - j)) / ramp
        log_m[..., i, j] = np.where(m > 0, np.log(np.where(m > 0, np.minimum(m, 1.0), 1.0)), -np.inf)
    return definitions.attention(q, k, v, bias=log_m if bias is None else log_m + bias, **options)


def cut_afterwards(q: Array, k: Array, v: Array, *, span: Array, ramp: float, **options: Any) -> Any:
    """Returns a softmax over all keys, multiplied by m and then divided by its remaining sum, applied to the values."""
    m = np.minimum(np.maximum((ramp + span[..., None] - np.abs(behind(q, k)).astype(q.dtype)) / ramp, 0.0), 1.0)
    kept = definitions.attention_weights(q, k, **options) * m
    left = np.sum(kept, axis=-1, keepdims=True)
    return kept / np.where(left == 0, 1.0, left) @ repeat_heads(q, v)[0]


def windows(q: Array, k: Array, v: Array, *, span: Array, ramp: float, **options: Any) -> Any:
    """Returns local attention with a window of span + 1 keys for each head."""
    window = [int(span[(0,) * (span.ndim - 2)][h, 0]) + 1 for h in range(q.shape[-3])]
    return definitions.multi_head_local_attention(q, k, v, window=window, **options)


def hats(q: Array, k: Array, *, embedding: Array, scale: float | None, **options: Any) -> Array:
    """Returns the bias, with counts made by a triangle of ones, and positions weighed by 1 - their distance from the count."""
    seen = Problem(q, k, k, options).visible()
    products = q @ repeat_heads(q, k)[0].mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    counted = seen / (1.0 + np.exp(np.minimum(-products, 80.0))) @ np.tril(np.ones((k.shape[-2],) * 2, q.dtype))
    place = np.minimum(counted, embedding.shape[0] - 1.0)[..., None]
    weights = np.maximum(1.0 - np.abs(place - np.arange(embedding.shape[0])), 0.0)
    bias: Array = np.sum(weights * (q @ embedding.T)[..., None, :], axis=-1)
    return bias.astype(q.dtype)


def by_distance(q: Array, k: Array, v: Array, *, embedding: Array, **options: Any) -> Any:
    """Returns attention with the bias q_i . e[i - j + 1], in which the last vector serves all larger distances."""
    at = np.clip(behind(q, k) + 1, 0, len(embedding) - 1)
    return definitions.attention(q, k, v, bias=np.sum(q[..., None, :] * embedding[at], axis=-1), **options)


def rotary_attention(q: Array, k: Array, v: Array, *, base: float, interleaved: bool, scale: float | None = None,
                     **options: Any) -> Any:
    """Returns causal attention on rotated queries and keys."""
    places = np.arange(k.shape[-2])
    q, k = (rotary(x, places[k.shape[-2] - x.shape[-2] :], base=base, interleaved=interleaved) for x in (q, k))
    return definitions.attention(q, k, v, causal=True, scale=scale)
