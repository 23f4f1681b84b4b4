"""Simple gated linear attention (Mamba-2's SSD), all pairs at once: gated linear attention with one decay per token."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import causal_values, check_log_decay, decayed_products, decays_between
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)"}, states=("initial_state",))
def simple_gated_linear_attention_parallel(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                           initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns gated linear attention whose channels all decay alike, by one factor per token: Mamba-2's SSD.

    Formula: out_i = scale sum_{j <= i} exp(b_i - b_j) (q_i . k_j) v_j, b the running sum of log_decay. SSD's names:
    q = C, k = B, v = dt x, log_decay = dt A.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_decay (..., kv_heads, j), at most 0
    -> (..., heads, i, e); with return_state also the state (..., kv_heads, d, e).

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`.

    Paper: Dao and Gu 2024, arXiv:2405.21060.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> simple_gated_linear_attention_parallel(k, k, v, log_decay=np.log([0.5, 0.5]))
    array([[1. ],
           [3.5]])
    """
    log_decay, state = check_log_decay(log_decay, k.shape[:-1], k.dtype)[..., None], check_state(initial_state, k, v)
    first, queries = first_position(q, k), split_group(q * check_scale(scale), k.shape[-3])
    before, between = np.exp(np.cumsum(log_decay, axis=-2))[..., None, :, :], decays_between(log_decay)[..., None, :, :, :]
    keys, values, until = k[..., None, :, :], v[..., None, :, :], np.sum(between[..., -1:, :, :], axis=-3)
    weights = decayed_products(queries, keys, between[..., first:, :, :])  # exp(b_i - b_j) (q_i . k_j)
    out = causal_values(weights, values) + before[..., first:, :] * (queries @ state[..., None, :, :])
    state = np.exp(np.sum(log_decay, axis=-2, keepdims=True)) * state + ((keys * until).mT @ values)[..., 0, :, :]
    out = out.reshape(*q.shape[:-1], v.shape[-1])
    return (out, state) if return_state else out


simple_gated_linear_attention = simple_gated_linear_attention_parallel
