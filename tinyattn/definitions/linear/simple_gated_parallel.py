"""Simple gated linear attention (Mamba-2's SSD), all pairs at once: gated linear attention with one decay per token."""

from __future__ import annotations

from typing import Any

from tinyattn.definitions.linear.gated_parallel import gated_linear_attention_parallel
from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)"}, states=("initial_state",))
def simple_gated_linear_attention_parallel(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                           initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns gated linear attention whose channels all decay alike, by one factor per token: Mamba-2's SSD.

    Formula: out_i = scale sum_{j <= i} exp(b_i - b_j) (q_i . k_j) v_j, b the running sum of log_decay. SSD's names:
    q = C, k = B, v = dt x, log_decay = dt A.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_decay (..., kv_heads, j), at most 0
    -> (..., heads, i, e); with return_state also the state (..., kv_heads, d, e).

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`.

    Paper: Dao and Gu 2024, arXiv:2405.21060.

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> simple_gated_linear_attention_parallel(k, k, v, log_decay=np.log([0.5, 0.5]))
    array([[1. ],
           [3.5]])
    """
    log_decay = check_log_decay(log_decay, k.shape[:-1], k.dtype)[..., None]
    return gated_linear_attention_parallel(q, k, v, log_decay=log_decay, scale=scale, initial_state=initial_state,
                                           return_state=return_state)


simple_gated_linear_attention = simple_gated_linear_attention_parallel
