"""Attention through projections and landmarks, written another way."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.oracles.calls import softmax_of
from tinyattn.laws.problem import repeat_heads
from tinyattn.ops.types import Array


def on_tokens(q: Array, k: Array, v: Array, *, project_k: Array, project_v: Array, scale: float | None = None) -> Any:
    """Returns attention whose scores of all tokens are projected and whose softmax is spread over the tokens again."""
    e, f = (repeat_heads(q, x)[0] if x.ndim == 3 else x for x in (project_k, project_v))
    keys, values = repeat_heads(q, k, v)
    scores = (q @ keys.mT) @ np.swapaxes(e, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    return (softmax_of(scores) @ f) @ values


def to_every_second(q: Array, k: Array, v: Array, *, project_k: Array, project_v: Array, scale: float | None = None) -> Any:
    """Returns attention to every second token."""
    return definitions.attention(q, k[..., ::2, :], v[..., ::2, :], scale=scale)


def segment_means(x: Array, count: int) -> Array:
    """Returns the mean of each segment of neighbours, as a matrix product."""
    return np.repeat(np.eye(count), x.shape[-2] // count, axis=1).astype(x.dtype) * (count / x.shape[-2]) @ x


def inverted(q: Array, k: Array, v: Array, *, landmarks: int, scale: float | None = None, **_iterations: Any) -> Any:
    """Returns F A^-1 B v, with the inverse found by elimination."""
    keys, values = repeat_heads(q, k, v)
    scale = q.shape[-1] ** -0.5 if scale is None else scale

    def weights(a: Array, b: Array) -> Array:
        mass = np.exp(a @ np.swapaxes(b, -1, -2) * scale)
        return mass / np.sum(mass, axis=-1, keepdims=True)

    few_q, few_k = segment_means(q, landmarks), segment_means(keys, landmarks)
    return weights(q, few_k) @ np.linalg.inv(weights(few_q, few_k)) @ (weights(few_q, keys) @ values)


def mean_query(q: Array, k: Array, v: Array, *, landmarks: int, scale: float | None = None) -> Any:
    """Returns for every query what the mean of all queries reads."""
    return definitions.attention(np.mean(q, axis=-2, keepdims=True) + np.zeros_like(q), k, v, scale=scale)
