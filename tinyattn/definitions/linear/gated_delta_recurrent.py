"""The gated delta rule: a state that decays, and in which each token corrects the value stored under its key."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_gate, check_log_decay
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)", "log_decay": "(j)"}, states=("initial_state",))
def gated_delta_rule_recurrent(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array, scale: float | None = None,
                               initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns the delta rule on a state that decays before each token corrects it.

    Formula: S' = exp(log_decay_t) S_{t-1}, S_t = S' + beta_t k_t (v_t - S'^T k_t)^T, out_t = scale S_t^T q_t.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), beta and log_decay, at most 0,
    (..., kv_heads, j) -> (..., heads, i, e); with return_state also the state (..., kv_heads, d, e).

    Raises:
        TypeError, ValueError: as `delta_rule_recurrent`; a log_decay above 0.

    Paper: Yang et al. 2024, arXiv:2412.06464.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> gated_delta_rule_recurrent(k, k, v, beta=np.array([1.0, 0.5]), log_decay=np.log([1.0, 0.5]))
    array([[1.  ],
           [1.75]])
    """
    log_decay, beta = check_log_decay(log_decay, k.shape[:-1], k.dtype), check_gate("beta", beta, k.shape[:-1], k.dtype)
    first, state = first_position(q, k), check_state(initial_state, k, v)
    queries, decay = split_group(q * check_scale(scale), k.shape[-3]), np.exp(log_decay)
    rows, shape = [], (*q.shape[:-1], v.shape[-1])
    for t in range(k.shape[-2]):
        state = decay[..., t, None, None] * state
        missing = v[..., t, :] - (k[..., t, None, :] @ state)[..., 0, :]
        state = state + k[..., t, :, None] * (beta[..., t, None] * missing)[..., None, :]
        if t >= first:
            rows.append(queries[..., t - first, :] @ state)
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out


gated_delta_rule = gated_delta_rule_recurrent
