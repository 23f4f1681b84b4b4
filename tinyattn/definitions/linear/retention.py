"""Retention: simple gated linear attention with a fixed decay per head."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions.linear.simple_gated import (
    simple_gated_linear_attention_chunked,
    simple_gated_linear_attention_parallel,
    simple_gated_linear_attention_recurrent,
)
from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("log_decay", "initial_state"))
def retention_parallel(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                       initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns linear attention in which the weight of a key decays by a fixed factor per token.

    Formula: out_i = scale sum_{j <= i} gamma^(i - j) (q_i . k_j) v_j, gamma = exp(log_decay); no normaliser. It is
    `simple_gated_linear_attention` with the same decay at every token. RetNet's
    heads h = 0, 1, ... take gamma = 1 - 2^(-5 - h).

    Shapes: as `gated_linear_attention_parallel`, but log_decay (kv_heads,), one number per head.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`.

    Paper: Sun et al. 2023, arXiv:2307.08621.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> retention_parallel(k, k, v, log_decay=np.log(0.5))
    array([[1. ],
           [3.5]])
    """
    log_decay = decay_per_token(log_decay, k)
    return simple_gated_linear_attention_parallel(q, k, v, log_decay=log_decay, scale=scale, initial_state=initial_state,
                                                  return_state=return_state)


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("log_decay", "initial_state"))
def retention_recurrent(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                        initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns retention from a state that takes in one token at a time: a case of `simple_gated_linear_attention_recurrent`.

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
    log_decay = decay_per_token(log_decay, k)
    return simple_gated_linear_attention_recurrent(q, k, v, log_decay=log_decay, scale=scale, initial_state=initial_state,
                                                   return_state=return_state)


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("log_decay", "initial_state"))
def retention_chunked(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                      initial_state: Array | None = None, return_state: bool = False, chunk: int = 64) -> Any:
    """Returns retention, parallel within chunks and recurrent between them: a case of `simple_gated_linear_attention_chunked`.

    Formula: O = (Q exp(b)) S + ((Q K^T) L) V, b_i = i log_decay, L_ij = exp(b_i - b_j) for j <= i.

    Shapes: as `retention_parallel`; `chunk` changes nothing.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`; chunk below 1.

    Paper: Sun et al. 2023, arXiv:2307.08621.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> retention_chunked(k, k, v, log_decay=np.log(0.5), chunk=1)
    array([[1. ],
           [3.5]])
    """
    log_decay = decay_per_token(log_decay, k)
    return simple_gated_linear_attention_chunked(q, k, v, log_decay=log_decay, scale=scale, initial_state=initial_state,
                                                 return_state=return_state, chunk=chunk)


retention = retention_parallel


def decay_per_token(log_decay: Array, k: Array) -> Array:
    """Returns the log decays per head (kv_heads,) repeated at every token: (..., kv_heads, j)."""
    return check_log_decay(log_decay, k.shape[-3:-2], k.dtype)[:, None] + np.zeros(k.shape[:-1], k.dtype)
