"""Retention, all pairs at once: simple gated linear attention with a fixed decay per head."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions.linear.simple_gated_parallel import simple_gated_linear_attention_parallel
from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("log_decay", "initial_state"))
def retention_parallel(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                       initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns linear attention in which the weight of a key decays by a fixed factor per token.

    Formula: out_i = scale sum_{j <= i} gamma^(i - j) (q_i . k_j) v_j, gamma = exp(log_decay); no normaliser. It is
    `simple_gated_linear_attention` with the same decay at every token. RetNet's heads h = 0, 1, ... take gamma = 1 - 2^(-5 - h).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_decay (kv_heads,), at most 0
    -> (..., heads, i, e); with return_state also the state (..., kv_heads, d, e).

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`.

    Paper: Sun et al. 2023, arXiv:2307.08621.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> retention_parallel(k, k, v, log_decay=np.log(0.5))
    array([[1. ],
           [3.5]])
    """
    log_decay = check_log_decay(log_decay, k.shape[-3:-2], k.dtype)[:, None] + np.zeros(k.shape[:-1], k.dtype)
    return simple_gated_linear_attention_parallel(q, k, v, log_decay=log_decay, scale=scale, initial_state=initial_state,
                                                  return_state=return_state)


retention = retention_parallel
