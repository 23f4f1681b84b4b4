"""Retention, one chunk at a time: simple gated linear attention with a fixed decay per head."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions.linear.simple_gated_chunked import simple_gated_linear_attention_chunked
from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("log_decay", "initial_state"))
def retention_chunked(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                      initial_state: Array | None = None, return_state: bool = False, chunk: int = 64) -> Any:
    """Returns retention one chunk at a time: `simple_gated_linear_attention_chunked` with the same decay at every token.

    Formula: O = (Q exp(b)) S + ((Q K^T) L) V, b_i = i log_decay, L_ij = exp(b_i - b_j) for j <= i.

    Shapes: as `retention_parallel`; `chunk` has no effect on the result.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`; chunk below 1.

    Paper: Sun et al. 2023, arXiv:2307.08621.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> retention_chunked(k, k, v, log_decay=np.log(0.5), chunk=1)
    array([[1. ],
           [3.5]])
    """
    log_decay = check_log_decay(log_decay, k.shape[-3:-2], k.dtype)[:, None] + np.zeros(k.shape[:-1], k.dtype)
    return simple_gated_linear_attention_chunked(q, k, v, log_decay=log_decay, scale=scale, initial_state=initial_state,
                                                 return_state=return_state, chunk=chunk)
