"""Simple gated linear attention (Mamba-2's SSD), one token at a time: gated linear attention with one decay per token."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)"}, states=("initial_state",))
def simple_gated_linear_attention_recurrent(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                            initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns `gated_linear_attention_recurrent` with a decay that all channels share.

    Formula: S_t = exp(log_decay_t) S_{t-1} + k_t v_t^T, out_t = scale S_t^T q_t.

    Shapes: as `simple_gated_linear_attention_parallel`.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`.

    Paper: Dao and Gu 2024, arXiv:2405.21060.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> simple_gated_linear_attention_recurrent(k, k, v, log_decay=np.log([0.5, 0.5]))
    array([[1. ],
           [3.5]])
    """
    log_decay, state = check_log_decay(log_decay, k.shape[:-1], k.dtype), check_state(initial_state, k, v)
    first, queries = first_position(q, k), split_group(q * check_scale(scale), k.shape[-3])
    decay, rows, shape = np.exp(log_decay), [], (*q.shape[:-1], v.shape[-1])
    for t in range(k.shape[-2]):
        state = decay[..., t, None, None] * state + k[..., t, :, None] * v[..., t, None, :]
        if t >= first:
            rows.append(queries[..., t - first, :] @ state)
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out
