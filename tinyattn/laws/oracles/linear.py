"""Linear attention and recurrences written another way: weights of every pair, one matrix, another mechanism."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.oracles.calls import behind, taking
from tinyattn.laws.problem import Mechanism, repeat_heads
from tinyattn.ops.types import Array

# Linear attention with features given as they are and without a normaliser.
UNNORMALISED = taking(definitions.linear_attention, feature_map=None, normalize=False, causal=True)


def by_weights(weights: Callable[..., Array]) -> Mechanism:
    """Returns the mechanism whose weights(q, keys, **its options) of every pair are hidden where later and divided by their sum."""
    def mechanism(q: Array, k: Array, v: Array, *, causal: bool, normalize: bool, **own: Any) -> Array:
        keys, values = repeat_heads(q, k, v)
        w = weights(q, keys, **own)
        w = np.tril(w, k.shape[-2] - q.shape[-2]) if causal else w
        total = np.sum(w, axis=-1, keepdims=True)
        return w @ values / (np.where(total == 0, 1.0, total) if normalize else 1.0)

    return mechanism


def polynomial(q: Array, k: Array) -> Array:
    """Returns 1 + s + s^2 / 2 of the scores s."""
    s = q @ np.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5
    return 1.0 + s + s * s * 0.5


def cosine_of_distance(q: Array, k: Array, *, max_length: int, start: int) -> Array:
    """Returns the products of the positive parts, times the cosine of the distance."""
    above, keys = (np.where(x > 0, x, 0.0) for x in (q, k))
    return above @ np.swapaxes(keys, -1, -2) * np.cos(np.pi / 2 * behind(q, k) / max_length).astype(q.dtype)


def positive_kernel(q: Array, k: Array, *, projection: Array) -> Array:
    """Returns the mean over directions w of exp(w . (q + k) - (|q|^2 + |k|^2) / 2), q and k divided by d^(1/4)."""
    q, k = q[..., :, None, :] * q.shape[-1] ** -0.25, k[..., None, :, :] * k.shape[-1] ** -0.25
    lengths = np.sum(q * q, axis=-1, keepdims=True) + np.sum(k * k, axis=-1, keepdims=True)
    return np.mean(np.exp((q + k) @ np.swapaxes(projection, -1, -2) - 0.5 * lengths), axis=-1)


def one_decay_per_token(q: Array, k: Array, v: Array, *, log_decay: Array) -> Any:
    """Returns simple gated linear attention with the decay of the first channel."""
    return definitions.simple_gated_linear_attention(q, k, v, log_decay=log_decay[..., 0])


def same_decay_at_every_token(q: Array, k: Array, v: Array, *, log_decay: Array) -> Any:
    """Returns simple gated linear attention with each head's decay at every token."""
    return definitions.simple_gated_linear_attention(q, k, v, log_decay=log_decay[:, None] + np.zeros(k.shape[:-1], k.dtype))


def one_matrix(q: Array, k: Array, v: Array, *, log_decay: Array) -> Array:
    """Returns (L o Q K^T) V, where L is the semiseparable matrix whose entries are products of decays."""
    length, q_len = k.shape[-2], q.shape[-2]
    entries = np.zeros((*k.shape[:-1], length), k.dtype)
    for i in range(length):
        for j in range(i + 1):
            entries[..., i, j] = np.prod(np.exp(log_decay[..., j + 1 : i + 1]), axis=-1)
    rows, keys, values = repeat_heads(q, entries, k, v)
    out: Array = (rows[..., length - q_len :, :] * (q @ keys.mT)) @ values
    return out


def weighted(q: Array, k: Array, v: Array, *, beta: Array) -> Any:
    """Returns linear attention over values times beta."""
    return UNNORMALISED(q, k, v * beta[..., None])


def zeros(q: Array, k: Array, v: Array, *, beta: Array) -> Array:
    """Returns 0, which is read from a state into which nothing was written."""
    return np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)
