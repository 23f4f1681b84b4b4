"""Attention with one thing changed, written another way: sinks, norms, two maps, gates, a window per head, latent vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.problem import Mechanism, repeat_heads
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
