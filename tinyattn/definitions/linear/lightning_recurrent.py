"""Lightning attention, one token at a time: a state that decays by a fixed slope per head."""

from __future__ import annotations

from typing import Any

from tinyattn.definitions.linear.retention_recurrent import retention_recurrent
from tinyattn.ops.gates import check_slopes
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

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> lightning_attention_recurrent(k, k, v, slopes=np.log(2.0))
    array([[1. ],
           [3.5]])
    """
    return retention_recurrent(q, k, v, log_decay=-check_slopes(slopes, k.shape[-3:-2], k.dtype), scale=scale,
                               initial_state=initial_state, return_state=return_state)


lightning_attention = lightning_attention_recurrent
