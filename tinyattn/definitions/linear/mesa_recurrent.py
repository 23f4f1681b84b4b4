"""Mesa, one token at a time: every query reads the ridge regression of all values so far on their keys, solved exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_log_decay, check_strength
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_ridge, check_sums, solved
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)", "beta": "(j)"}, states=("ridge", "initial_state"))
def mesa_recurrent(q: Array, k: Array, v: Array, *, log_decay: Array, beta: Array, ridge: Array, scale: float | None = None,
                   initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns the queries mapped by a linear map from keys to values, which is fitted anew at every token to all tokens so far.

    Formula: G_t = exp(log_decay_t) G_{t-1} + beta_t k_t v_t^T, H_t = exp(log_decay_t) H_{t-1} + beta_t k_t k_t^T,
    out_t = scale G_t^T (H_t + diag(ridge))^-1 q_t. The map minimises the squared errors of the tokens, each times its beta and
    the decays after it, plus the ridge times the squared entries of the map. The ridge does not decay.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_decay and beta (..., kv_heads, j),
    ridge (kv_heads, d) -> (..., heads, i, e); with return_state also the pair G (..., kv_heads, d, e), H (..., kv_heads, d, d).

    Raises:
        TypeError, ValueError: a beta below 0, a ridge that is not above 0, or so small beside the keys that the regression has no
            solution in this dtype; otherwise as `gated_delta_rule`.

    Paper: von Oswald et al. 2025, arXiv:2506.05233.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> mesa_recurrent(k, k, v, log_decay=np.zeros(2), beta=np.ones(2), ridge=np.array([1e-9])).round(6)
    array([[1.],
           [2.]])
    """
    log_decay, beta = check_log_decay(log_decay, k.shape[:-1], k.dtype), check_strength(beta, k.shape[:-1], k.dtype)
    ridge, (values, keys) = check_ridge(ridge, k), check_sums(initial_state, k, v)
    first, queries, decay = first_position(q, k), split_group(q * check_scale(scale), k.shape[-3]), np.exp(log_decay)
    rows, shape = [], (*q.shape[:-1], v.shape[-1])
    for t in range(k.shape[-2]):
        kept, weighed = decay[..., t, None, None], (beta[..., t, None] * k[..., t, :])[..., :, None]
        values = kept * values + weighed * v[..., t, None, :]
        keys = kept * keys + weighed * k[..., t, None, :]
        if t >= first:
            rows.append(solved(keys + ridge, queries[..., t - first, :].mT).mT @ values)
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, (values, keys)) if return_state else out


mesa = mesa_recurrent
