"""Attention with one thing changed, written another way: sinks, norms, two maps, gates, windows, latents, spans, counts, chunks."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.oracles.calls import behind
from tinyattn.laws.problem import Mechanism, Problem, repeat_heads, scale_of
from tinyattn.ops.norm import rms_norm, unit
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.types import Array


def repeated_keys(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """Returns multi-head attention over keys and values that are repeated for every head of their group."""
    return definitions.multi_head_attention(q, *repeat_heads(q, k, v), **options)


def zero_sinks(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """Returns attention with a sink of 0 for every head."""
    return definitions.attention(q, k, v, sinks=np.zeros(q.shape[-3], q.dtype), **options)


def cosines(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """Returns attention on cosines, multiplied by sqrt(head_dim)."""
    return definitions.attention(unit(q), unit(k), v, **{**options, "scale": q.shape[-1] ** 0.5})


def rotate(x: Array) -> Array:
    """Returns x rotated by positions counted from 0."""
    return rotary(x, np.arange(x.shape[-2]))


def rotated_norms(q: Array, k: Array, v: Array, *, q_weight: Array, k_weight: Array, rotate: Any, **options: Any) -> Any:
    """Returns attention on queries and keys that are normalised, multiplied by their weights and then rotated."""
    return definitions.attention(rotate(rms_norm(q, q_weight)), rotate(rms_norm(k, k_weight)), v, **options)


def two_weights(q: Array, k: Array, v: Array, *, q2: Array, k2: Array, lambda_: Array, **options: Any) -> Array:
    """Returns the difference of two maps of weights, applied to the values."""
    first, second = definitions.attention_weights(q, k, **options), definitions.attention_weights(q2, k2, **options)
    difference: Array = first - lambda_[:, None, None] * second
    return difference @ repeat_heads(q, v)[0]


def less_attention(q: Array, k: Array, v: Array, *, q2: Array, k2: Array, lambda_: Array, **options: Any) -> Any:
    """Returns attention times 1 - lambda."""
    return (1 - lambda_)[:, None, None] * definitions.attention(q, k, v, **options)


def times_attention(factor: float) -> Mechanism:
    """Returns attention without a gate, times a number."""
    return lambda q, k, v, *, gate, **options: factor * definitions.attention(q, k, v, **options)


def gate_in_the_weights(q: Array, k: Array, v: Array, *, gate: Array, **options: Any) -> Array:
    """Returns the weights times the gate, applied to the values."""
    weights = definitions.attention_weights(q, k, **options) / (1.0 + np.exp(-gate))[..., None]
    out: Array = weights @ repeat_heads(q, v)[0]
    return out


def pairs_one_by_one(q: Array, k: Array, v: Array, *, window: Any, mode: str, causal: bool, **options: Any) -> Any:
    """Returns local attention with each head's visible pairs decided one by one."""
    q_len, kv_len = q.shape[-2], k.shape[-2]
    seen = np.zeros((q.shape[-3], q_len, kv_len), bool)
    for h in range(q.shape[-3]):
        w = window if isinstance(window, int) else window[h]
        for i in range(kv_len - q_len, kv_len):
            for j in range(kv_len):
                near = {"sliding": abs(i - j) < w, "block": i // w == j // w, "look_back": 0 <= i // w - j // w <= 1}[mode]
                if i >= 0:
                    seen[h, i - kv_len + q_len, j] = near and (j <= i or not causal)
    return definitions.attention(q, k, v, mask=seen, **options)


def keys_in_latents(q: Array, k: Array, v: Array, *, q_rope: Array, w_uk: Array, w_uv: Array, **options: Any) -> Any:
    """Returns grouped-query attention on the keys and values that the latents hold."""
    d, e = w_uk.shape[-1], w_uv.shape[-1]
    parts = np.moveaxis(k.reshape(*k.shape[:-1], -1, d + e), -2, -3)
    return definitions.grouped_query_attention(q, parts[..., :d], parts[..., d:], **options)


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
    products = q @ repeat_heads(q, k)[0].mT * scale_of(q, scale)
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
