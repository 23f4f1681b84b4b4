"""A decay that all channels share: one number a token (Mamba-2's SSD), or one number a head (retention)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions.linear.gated import in_chunks, one_by_one, weighted_sum
from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)"}, states=("initial_state",))
def simple_gated_linear_attention_parallel(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                           initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns what queries read from a state that fades as a whole, by a number a token: Mamba-2's SSD.

    Formula: out_i = scale sum_{j <= i} exp(b_i - b_j) (q_i . k_j) v_j, b the running sum of log_decay. SSD's names:
    q = C, k = B, v = dt x, log_decay = dt A.

    Shapes: as `gated_linear_attention_parallel`, but log_decay (..., kv_heads, j).

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`.

    Paper: Dao and Gu 2024, arXiv:2405.21060.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> simple_gated_linear_attention_parallel(k, k, v, log_decay=np.log([0.5, 0.5]))
    array([[1. ],
           [3.5]])
    """
    return weighted_sum(q, k, v, a_token(log_decay, k), scale, initial_state, return_state)


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)"}, states=("initial_state",))
def simple_gated_linear_attention_recurrent(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                            initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns the same from a state that takes in one token at a time.

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
    return one_by_one(q, k, v, a_token(log_decay, k), scale, initial_state, return_state)


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)"}, states=("initial_state",))
def simple_gated_linear_attention_chunked(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                          initial_state: Array | None = None, return_state: bool = False,
                                          chunk: int = 64) -> Any:
    """Returns the same, parallel within chunks and recurrent between them.

    Formula: O = (Q exp(b)) S + ((Q K^T) L) V, L_ij = exp(b_i - b_j) for j <= i; S' = exp(b_C) S + (K exp(b_C - b))^T V.

    Shapes: as `simple_gated_linear_attention_parallel`; `chunk` changes nothing.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`; chunk below 1.

    Paper: Dao and Gu 2024, arXiv:2405.21060.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> simple_gated_linear_attention_chunked(k, k, v, log_decay=np.log([0.5, 0.5]), chunk=1)
    array([[1. ],
           [3.5]])
    """
    return in_chunks(q, k, v, a_token(log_decay, k), scale, initial_state, return_state, chunk)


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("log_decay", "initial_state"))
def retention_parallel(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                       initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns linear attention in which a key's weight fades by a fixed factor a token.

    Formula: out_i = scale sum_{j <= i} gamma^(i - j) (q_i . k_j) v_j, gamma = exp(log_decay); no normaliser. RetNet's
    heads h = 0, 1, ... take gamma = 1 - 2^(-5 - h).

    Shapes: as `gated_linear_attention_parallel`, but log_decay (kv_heads,), one number a head.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`.

    Paper: Sun et al. 2023, arXiv:2307.08621.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> retention_parallel(k, k, v, log_decay=np.log(0.5))
    array([[1. ],
           [3.5]])
    """
    return weighted_sum(q, k, v, a_head(log_decay, k), scale, initial_state, return_state)


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("log_decay", "initial_state"))
def retention_recurrent(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                        initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns retention from a state that takes in one token at a time.

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
    return one_by_one(q, k, v, a_head(log_decay, k), scale, initial_state, return_state)


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("log_decay", "initial_state"))
def retention_chunked(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                      initial_state: Array | None = None, return_state: bool = False, chunk: int = 64) -> Any:
    """Returns retention, parallel within chunks and recurrent between them.

    Formula: as `simple_gated_linear_attention_chunked`, with the same log_decay at every token.

    Shapes: as `retention_parallel`; `chunk` changes nothing.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`; chunk below 1.

    Paper: Sun et al. 2023, arXiv:2307.08621.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> retention_chunked(k, k, v, log_decay=np.log(0.5), chunk=1)
    array([[1. ],
           [3.5]])
    """
    return in_chunks(q, k, v, a_head(log_decay, k), scale, initial_state, return_state, chunk)


simple_gated_linear_attention = simple_gated_linear_attention_parallel
retention = retention_parallel


def a_token(log_decay: Array, k: Array) -> Array:
    """Returns log decays (..., kv_heads, j) with one channel for all."""
    return check_log_decay(log_decay, k.shape[:-1], k.dtype)[..., None]


def a_head(log_decay: Array, k: Array) -> Array:
    """Returns log decays (kv_heads,) at every token, with one channel for all."""
    checked = check_log_decay(log_decay, k.shape[-3:-2], k.dtype)
    return checked[:, None, None] + np.zeros((*k.shape[:-1], 1), k.dtype)
