"""Lightning attention, one token at a time: a state that decays by a fixed slope per head."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_slopes
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("slopes", "initial_state"))
def lightning_attention_recurrent(q: Array, k: Array, v: Array, *, slopes: Array, scale: float | None = None,
                                  initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns lightning attention one token at a time: `retention_recurrent` whose log decay is minus the slope of the head.

    Formula: S_t = exp(-slope) S_{t-1} + k_t v_t^T, out_t = scale S_t^T q_t.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), slopes (kv_heads,), at least 0
    -> (..., heads, i, e); with return_state also the state (..., kv_heads, d, e) after the last token.

    Raises:
        TypeError, ValueError: arrays of another dtype or shape, slopes below 0 or NaN, more queries than keys.

    Paper: Qin et al. 2024, arXiv:2401.04658; MiniMax 2025, arXiv:2501.08313.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> lightning_attention_recurrent(k, k, v, slopes=np.log(2.0))
    array([[1. ],
           [3.5]])
    """
    gamma = np.exp(-check_slopes(slopes, k.shape[-3:-2], k.dtype))[:, None, None]
    first, state = first_position(q, k), check_state(initial_state, k, v)
    queries, rows, shape = split_group(q * check_scale(scale), k.shape[-3]), [], (*q.shape[:-1], v.shape[-1])
    for t in range(k.shape[-2]):
        state = gamma * state + k[..., t, :, None] * v[..., t, None, :]
        if t >= first:
            rows.append(queries[..., t - first, :] @ state)
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out


lightning_attention = lightning_attention_recurrent
