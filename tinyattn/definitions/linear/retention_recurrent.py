"""Retention, one token at a time: simple gated linear attention with a fixed decay per head."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("log_decay", "initial_state"))
def retention_recurrent(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                        initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns retention one token at a time: `simple_gated_linear_attention_recurrent` with the same decay at every token.

    Formula: S_t = gamma S_{t-1} + k_t v_t^T, out_t = scale S_t^T q_t.

    Shapes: as `retention_parallel`.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`.

    Paper: Sun et al. 2023, arXiv:2307.08621.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> retention_recurrent(k, k, v, log_decay=np.log(0.5))
    array([[1. ],
           [3.5]])
    """
    gamma = np.exp(check_log_decay(log_decay, k.shape[-3:-2], k.dtype))[:, None, None]
    first, state = first_position(q, k), check_state(initial_state, k, v)
    queries, rows, shape = split_group(q * check_scale(scale), k.shape[-3]), [], (*q.shape[:-1], v.shape[-1])
    for t in range(k.shape[-2]):
        state = gamma * state + k[..., t, :, None] * v[..., t, None, :]
        if t >= first:
            rows.append(queries[..., t - first, :] @ state)
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out
