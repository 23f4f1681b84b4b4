"""RWKV-7's recurrence: each token removes what the state holds along one vector, at a rate per channel, one token at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_gate, check_log_decay
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)", "removal": "(j,d)", "rate": "(j,d)"}, states=("initial_state",))
def rwkv7_recurrent(q: Array, k: Array, v: Array, *, log_decay: Array, removal: Array, rate: Array, scale: float | None = None,
                    initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns what queries read from a state that decays per channel and from which each token removes along its removal vector.

    Formula: S_t = diag(exp(log_decay_t)) S_{t-1} - (rate_t * removal_t) (removal_t^T S_{t-1}) + k_t v_t^T,
    out_t = scale S_t^T q_t: `generalized_delta_rule_recurrent` with read -removal and write rate * removal. What is removed is
    read before the decay. The caller gives removal vectors of length 1 and rates from 0 to 1; the bonus of the current token
    belongs to the layer.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_decay, removal and rate as k
    -> (..., heads, i, e), with i <= j; with return_state also the state (..., kv_heads, d, e).

    Raises:
        TypeError, ValueError: as `generalized_delta_rule_recurrent`, with removal and rate in the places of read and write.

    Paper: Peng et al. 2025, arXiv:2503.14456.

    >>> k = np.ones((2, 1)); v = np.array([[8.0], [0.0]])
    >>> rwkv7_recurrent(k, k, v, log_decay=np.log([[1.0], [0.75]]), removal=k, rate=np.array([[0.0], [0.5]]))
    array([[8.],
           [2.]])
    """
    log_decay = check_log_decay(log_decay, k.shape, k.dtype)
    removal, rate = check_gate("removal", removal, k.shape, k.dtype), check_gate("rate", rate, k.shape, k.dtype)
    first, state = first_position(q, k), check_state(initial_state, k, v)
    queries, decay = split_group(q * check_scale(scale), k.shape[-3]), np.exp(log_decay)
    rows, shape = [], (*q.shape[:-1], v.shape[-1])
    for t in range(k.shape[-2]):
        removed = rate[..., t, :, None] * removal[..., t, :, None] * (removal[..., t, None, :] @ state)
        state = decay[..., t, :, None] * state - removed + k[..., t, :, None] * v[..., t, None, :]
        if t >= first:
            rows.append(queries[..., t - first, :] @ state)
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out


rwkv7 = rwkv7_recurrent
