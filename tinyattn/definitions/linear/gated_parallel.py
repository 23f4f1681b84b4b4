"""Gated linear attention (GLA): the state decays per channel; this form computes all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import causal_values, check_channel_decay, decayed_products, decays_between
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)"}, states=("initial_state",))
def gated_linear_attention_parallel(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                    initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns linear attention whose state decays per channel, as one weighted sum over all earlier tokens.

    Formula: out_i = scale sum_{j <= i} (sum_d q_id k_jd exp(b_id - b_jd)) v_j, b the running sum of log_decay. The
    last query is aligned with the last key.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_decay (..., kv_heads, j, d),
    or (..., kv_heads, j, 1) for a decay that all channels share -> (..., heads, i, e); the state (..., kv_heads, d, e).

    Args:
        q: queries.
        k: keys; a token's own decay does not apply to them.
        v: values.
        log_decay: at most 0.
        scale: factor of q; None is 1.
        initial_state: the state after earlier tokens.
        return_state: return (out, state after all tokens).

    Raises:
        TypeError, ValueError: arrays of another dtype or shape, a log_decay above 0 or NaN, more queries than keys.

    Paper: Yang et al. 2023, arXiv:2312.06635.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> gated_linear_attention_parallel(k, k, v, log_decay=np.log([[0.5], [0.5]]))
    array([[1. ],
           [3.5]])
    """
    log_decay, state = check_channel_decay(log_decay, k), check_state(initial_state, k, v)
    first, queries = first_position(q, k), split_group(q * check_scale(scale), k.shape[-3])
    before, between = np.exp(np.cumsum(log_decay, axis=-2))[..., None, :, :], decays_between(log_decay)[..., None, :, :, :]
    k, v, until = k[..., None, :, :], v[..., None, :, :], np.sum(between[..., -1:, :, :], axis=-3)
    weights = decayed_products(queries, k, between[..., first:, :, :])
    out = causal_values(weights, v) + (queries * before[..., first:, :]) @ state[..., None, :, :]
    state = np.exp(np.sum(log_decay, axis=-2, keepdims=True)).mT * state + ((k * until).mT @ v)[..., 0, :, :]
    out = out.reshape(*q.shape[:-1], v.shape[-1])
    return (out, state) if return_state else out
