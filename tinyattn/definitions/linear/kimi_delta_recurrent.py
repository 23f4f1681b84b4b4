"""Kimi delta attention (KDA): the gated delta rule with a decay per channel, one token at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_gate, check_log_decay
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)", "log_decay": "(j,d)"}, states=("initial_state",))
def kimi_delta_attention_recurrent(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array, scale: float | None = None,
                                   initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns the delta rule on a state whose channels decay, each by its own factor, before each token corrects it.

    Formula: S' = diag(exp(log_decay_t)) S_{t-1}, S_t = S' + beta_t k_t (v_t - S'^T k_t)^T, out_t = scale S_t^T q_t.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), beta (..., kv_heads, j), log_decay
    (..., kv_heads, j, d), at most 0 -> (..., heads, i, e); with return_state also the state (..., kv_heads, d, e).

    Raises:
        TypeError, ValueError: as `delta_rule_recurrent`; a log_decay above 0 or of another shape than k.

    Paper: Kimi Team 2025, arXiv:2510.26692.

    >>> k = np.array([[1.0, 0.0], [0.0, 1.0]]); v = np.array([[8.0], [4.0]]); halved = np.log([[1.0, 1.0], [0.5, 1.0]])
    >>> kimi_delta_attention_recurrent(np.ones((2, 2)), k, v, beta=np.ones(2), log_decay=halved)
    array([[8.],
           [8.]])
    """
    log_decay, beta = check_log_decay(log_decay, k.shape, k.dtype), check_gate("beta", beta, k.shape[:-1], k.dtype)
    first, state = first_position(q, k), check_state(initial_state, k, v)
    queries, decay = split_group(q * check_scale(scale), k.shape[-3]), np.exp(log_decay)
    rows, shape = [], (*q.shape[:-1], v.shape[-1])
    for t in range(k.shape[-2]):
        state = decay[..., t, :, None] * state
        missing = v[..., t, :] - (k[..., t, None, :] @ state)[..., 0, :]
        state = state + k[..., t, :, None] * (beta[..., t, None] * missing)[..., None, :]
        if t >= first:
            rows.append(queries[..., t - first, :] @ state)
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out


kimi_delta_attention = kimi_delta_attention_recurrent
