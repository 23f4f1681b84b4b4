"""Attention through projections and landmarks, written another way."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.oracles.calls import softmax_of
from tinyattn.laws.oracles.gathered import block_means
from tinyattn.laws.problem import repeat_heads, scale_of
from tinyattn.ops.types import Array


def on_tokens(q: Array, k: Array, v: Array, *, project_k: Array, project_v: Array, scale: float | None = None) -> Any:
    """Returns attention whose scores of all tokens are projected and whose softmax is spread over the tokens again."""
    e, f = (repeat_heads(q, x)[0] if x.ndim == 3 else x for x in (project_k, project_v))
    keys, values = repeat_heads(q, k, v)
    scores = (q @ keys.mT) @ np.swapaxes(e, -1, -2) * scale_of(q, scale)
    return (softmax_of(scores) @ f) @ values


def to_every_second(q: Array, k: Array, v: Array, *, project_k: Array, project_v: Array, scale: float | None = None) -> Any:
    """Returns attention to every second token."""
    return definitions.attention(q, k[..., ::2, :], v[..., ::2, :], scale=scale)


def inverted(q: Array, k: Array, v: Array, *, landmarks: int, scale: float | None = None, **_iterations: Any) -> Any:
    """Returns F A^-1 B v, with the inverse found by elimination."""
    keys, values = repeat_heads(q, k, v)
    few_q, few_k = (block_means(x, x.shape[-2] // landmarks) for x in (q, keys))
    left, middle, right = (softmax_of(a @ np.swapaxes(b, -1, -2) * scale_of(q, scale))
                           for a, b in ((q, few_k), (few_q, few_k), (few_q, keys)))
    return left @ np.linalg.inv(middle) @ (right @ values)


def mean_query(q: Array, k: Array, v: Array, *, landmarks: int, scale: float | None = None) -> Any:
    """Returns for every query what the mean of all queries reads."""
    return definitions.attention(np.mean(q, axis=-2, keepdims=True) + np.zeros_like(q), k, v, scale=scale)
