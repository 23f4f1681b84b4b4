"""Retention, all pairs at once: simple gated linear attention with a fixed decay per head."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import causal_values, check_log_decay
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("log_decay", "initial_state"))
def retention_parallel(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                       initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns linear attention in which the weight of a key decays by a fixed factor per token.

    Formula: out_i = scale sum_{j <= i} gamma^(i - j) (q_i . k_j) v_j, gamma = exp(log_decay); no normaliser. It is
    `simple_gated_linear_attention` with the same decay at every token. RetNet's heads h = 0, 1, ... take gamma = 1 - 2^(-5 - h).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_decay (kv_heads,), at most 0
    -> (..., heads, i, e); with return_state also the state (..., kv_heads, d, e).

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`.

    Paper: Sun et al. 2023, arXiv:2307.08621.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> retention_parallel(k, k, v, log_decay=np.log(0.5))
    array([[1. ],
           [3.5]])
    """
    log_gamma = check_log_decay(log_decay, k.shape[-3:-2], k.dtype)[:, None, None]
    first, kv_len, state = first_position(q, k), k.shape[-2], check_state(initial_state, k, v)
    queries, keys, values = split_group(q * check_scale(scale), k.shape[-3]), k[..., None, :, :], v[..., None, :, :]

    def fading(steps: Array) -> Array:
        """Returns gamma^steps, (kv_heads, 1, i, j), also for a gamma of 0, whose log times 0 steps is NaN."""
        return np.exp(np.where(steps > 0, log_gamma * steps.astype(k.dtype), 0.0))[:, None]

    i, j = np.arange(first, kv_len)[:, None], np.arange(kv_len)
    weights = np.where(j <= i, fading(i - j) * (queries @ keys.mT), 0.0)
    out = causal_values(weights, values) + fading(i + 1) * (queries @ state[..., None, :, :])
    written = (fading(kv_len - 1 - j[:, None]) * keys).mT @ values
    state = fading(np.full((1, 1), kv_len))[:, 0] * state + written[..., 0, :, :]
    out = out.reshape(*q.shape[:-1], v.shape[-1])
    return (out, state) if return_state else out


retention = retention_parallel
