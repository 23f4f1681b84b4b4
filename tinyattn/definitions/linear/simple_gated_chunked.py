"""Simple gated linear attention (Mamba-2's SSD), one chunk at a time: gated linear attention with one decay per token."""

from __future__ import annotations

from typing import Any

from tinyattn.definitions.linear.gated_chunked import gated_linear_attention_chunked
from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)"}, states=("initial_state",))
def simple_gated_linear_attention_chunked(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                          initial_state: Array | None = None, return_state: bool = False,
                                          chunk: int = 64) -> Any:
    """Returns `gated_linear_attention_chunked` with a decay that all channels share.

    Formula: O = (Q exp(b)) S + ((Q K^T) L) V, L_ij = exp(b_i - b_j) for j <= i; S' = exp(b_C) S + (K exp(b_C - b))^T V.

    Shapes: as `simple_gated_linear_attention_parallel`; `chunk` has no effect on the result.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`; chunk below 1.

    Paper: Dao and Gu 2024, arXiv:2405.21060.

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> simple_gated_linear_attention_chunked(k, k, v, log_decay=np.log([0.5, 0.5]), chunk=1)
    array([[1. ],
           [3.5]])
    """
    log_decay = check_log_decay(log_decay, k.shape[:-1], k.dtype)[..., None]
    return gated_linear_attention_chunked(q, k, v, log_decay=log_decay, scale=scale, initial_state=initial_state,
                                          return_state=return_state, chunk=chunk)
