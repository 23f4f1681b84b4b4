"""DeltaProduct: several steps of the gated delta rule per token, one after another."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_gate, check_steps
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)", "log_decay": "(t)"}, states=("initial_state",))
def delta_product_recurrent(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array | None = None, steps: int,
                            scale: float | None = None, initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns a delta rule in which each token decays the state once and then corrects it `steps` times, before it is read.

    Formula: S_t,0 = exp(log_decay_t) S_{t-1}, S_t,s = S_t,s-1 + beta_n k_n (v_n - S_t,s-1^T k_n)^T with n = t steps + s - 1 for
    s = 1 .. steps, S_t = S_t,steps, out_t = scale S_t^T q_t. With a beta of 2 and keys of length 1 each step is a reflection, and
    two of them are a rotation.

    Shapes: q (..., heads, i, d), k (..., kv_heads, steps t, d), v (..., kv_heads, steps t, e), beta (..., kv_heads, steps t),
    log_decay (..., kv_heads, t), no decay where it is None -> (..., heads, i, e), with i <= t; with return_state also the state
    (..., kv_heads, d, e).

    Raises:
        TypeError, ValueError: as `gated_delta_rule_recurrent`; steps below 1; a number of keys that steps does not divide.

    Paper: Siems et al. 2025, arXiv:2502.10297.

    >>> k = np.array([[1.0, 0.0], [np.sqrt(0.5), np.sqrt(0.5)]]); state = np.array([[1.0], [0.0]])
    >>> out, turned = delta_product_recurrent(k[:1], k, np.zeros((2, 1)), beta=np.full(2, 2.0), steps=2, initial_state=state,
    ...                                       return_state=True)
    >>> np.round(turned, 12) + 0.0  # a quarter of a turn
    array([[0.],
           [1.]])
    """
    steps, first, log_decay = check_steps(q, k, steps, log_decay)
    beta, state = check_gate("beta", beta, k.shape[:-1], k.dtype), check_state(initial_state, k, v)
    queries, decay = split_group(q * check_scale(scale), k.shape[-3]), np.exp(log_decay)
    rows, shape = [], (*q.shape[:-1], v.shape[-1])
    for t in range(decay.shape[-1]):
        state = decay[..., t, None, None] * state
        for n in range(t * steps, (t + 1) * steps):
            missing = v[..., n, :] - (k[..., n, None, :] @ state)[..., 0, :]
            state = state + k[..., n, :, None] * (beta[..., n, None] * missing)[..., None, :]
        if t >= first:
            rows.append(queries[..., t - first, :] @ state)
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out


delta_product = delta_product_recurrent
