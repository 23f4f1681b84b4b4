"""The generalized delta rule: each token multiplies the state by a diagonal matrix plus a matrix of rank 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_gate, check_log_decay
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)", "read": "(j,d)", "write": "(j,d)"}, states=("initial_state",))
def generalized_delta_rule_recurrent(q: Array, k: Array, v: Array, *, log_decay: Array, read: Array, write: Array,
                                     scale: float | None = None, initial_state: Array | None = None,
                                     return_state: bool = False) -> Any:
    """Returns what queries read from a state that each token reads along one vector and changes along another.

    Formula: S_t = diag(exp(log_decay_t)) S_{t-1} + write_t (read_t^T S_{t-1}) + k_t v_t^T, out_t = scale S_t^T q_t. The read
    comes before the decay. A delta rule has read = -beta exp(log_decay) k, write = k and
    values beta v.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_decay, read and write as k
    -> (..., heads, i, e), with i <= j; with return_state also the state (..., kv_heads, d, e).

    Raises:
        TypeError, ValueError: as `delta_rule_recurrent`; a log_decay above 0; a read or write that is not finite or has another
            shape than k.

    Paper: Peng et al. 2025, arXiv:2503.14456.

    >>> k = np.eye(2); v = np.array([[1.0], [3.0]]); none = np.zeros((2, 2))
    >>> moved = np.array([[0.0, 0.0], [1.0, 0.0]])  # the second token also writes what the state holds under the first key
    >>> generalized_delta_rule_recurrent(k, k, v, log_decay=none, read=moved, write=k)
    array([[1.],
           [4.]])
    """
    log_decay = check_log_decay(log_decay, k.shape, k.dtype)
    read, write = check_gate("read", read, k.shape, k.dtype), check_gate("write", write, k.shape, k.dtype)
    first, state = first_position(q, k), check_state(initial_state, k, v)
    queries, decay = split_group(q * check_scale(scale), k.shape[-3]), np.exp(log_decay)
    rows, shape = [], (*q.shape[:-1], v.shape[-1])
    for t in range(k.shape[-2]):
        stored = read[..., t, None, :] @ state
        state = decay[..., t, :, None] * state + write[..., t, :, None] * stored + k[..., t, :, None] * v[..., t, None, :]
        if t >= first:
            rows.append(queries[..., t - first, :] @ state)
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out


generalized_delta_rule = generalized_delta_rule_recurrent
