"""The delta rule, one token at a time: each token corrects the value that the state stores under its key."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_gate
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)"}, states=("initial_state",))
def delta_rule_recurrent(q: Array, k: Array, v: Array, *, beta: Array, scale: float | None = None,
                         initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns what queries read from a state in which each token corrects the value that is stored under its key.

    Formula: S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T, out_t = scale S_t^T q_t. It is `gated_delta_rule_recurrent`
    without decay. The keys are not normalised here; the rule is stable for 0 <= beta |k|^2 <= 2.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), beta (..., kv_heads, j)
    -> (..., heads, i, e); with return_state also the state (..., kv_heads, d, e).

    Raises:
        TypeError, ValueError: arrays of another dtype or shape, a beta that is not finite, more queries than keys.

    Paper: Schlag et al. 2021, arXiv:2102.11174; Yang et al. 2024, arXiv:2406.06484.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> delta_rule_recurrent(k, k, v, beta=np.array([1.0, 0.5]))
    array([[1.],
           [2.]])
    """
    beta, state = check_gate("beta", beta, k.shape[:-1], k.dtype), check_state(initial_state, k, v)
    first, queries = first_position(q, k), split_group(q * check_scale(scale), k.shape[-3])
    rows, shape = [], (*q.shape[:-1], v.shape[-1])
    for t in range(k.shape[-2]):
        missing = v[..., t, :] - (k[..., t, None, :] @ state)[..., 0, :]
        state = state + k[..., t, :, None] * (beta[..., t, None] * missing)[..., None, :]
        if t >= first:
            rows.append(queries[..., t - first, :] @ state)
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out


delta_rule = delta_rule_recurrent
