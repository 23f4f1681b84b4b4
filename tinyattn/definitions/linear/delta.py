"""The delta rule: a token writes what the state does not yet say of its key."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import behind, check_gate, check_log_decay, check_matrix_state
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import linear_scale, positive_int, same_or_later
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)"}, states=("initial_state",))
def delta_rule_recurrent(q: Array, k: Array, v: Array, *, beta: Array, scale: float | None = None,
                         initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns what queries read from a state that each token corrects towards its own value.

    Formula: S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T, out_t = scale S_t^T q_t. Nothing is normalised inside;
    it is stable for 0 <= beta |k|^2 <= 2.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), beta (..., kv_heads, j)
    -> (..., heads, i, e); the state (..., kv_heads, d, e).

    Raises:
        TypeError, ValueError: arrays of another kind or shape, a beta that is not finite, more queries than keys.

    Paper: Schlag et al. 2021, arXiv:2102.11174; Yang et al. 2024, arXiv:2406.06484.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> delta_rule_recurrent(k, k, v, beta=np.array([1.0, 0.5]))
    array([[1.],
           [2.]])
    """
    return corrected(q, k, v, beta, np.zeros(k.shape[:-1], k.dtype), scale, initial_state, return_state)


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)"}, states=("initial_state",))
def delta_rule_chunked(q: Array, k: Array, v: Array, *, beta: Array, scale: float | None = None,
                       initial_state: Array | None = None, return_state: bool = False, chunk: int = 64) -> Any:
    """Returns the delta rule, parallel within chunks and recurrent between them.

    Formula: (I + A) [U W] = diag(beta) [V K], A_ij = beta_i k_i . k_j for j < i, by forward substitution;
    V' = U - W S, O = Q S + tril(Q K^T) V', S' = S + K^T V'.

    Shapes: as `delta_rule_recurrent`; the length need not divide by `chunk`, and `chunk` changes nothing.

    Raises:
        TypeError, ValueError: as `delta_rule_recurrent`; chunk below 1.

    Paper: Yang et al. 2024, arXiv:2406.06484.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> delta_rule_chunked(k, k, v, beta=np.array([1.0, 0.5]), chunk=2)
    array([[1.],
           [2.]])
    """
    return corrected_in_chunks(q, k, v, beta, np.zeros(k.shape[:-1], k.dtype), scale, initial_state, return_state, chunk)


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)", "log_decay": "(j)"}, states=("initial_state",))
def gated_delta_rule_recurrent(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array, scale: float | None = None,
                               initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns the delta rule on a state that fades before each token corrects it.

    Formula: S' = exp(log_decay_t) S_{t-1}, S_t = S' + beta_t k_t (v_t - S'^T k_t)^T, out_t = scale S_t^T q_t.

    Shapes: as `delta_rule_recurrent`; log_decay as beta, at most 0.

    Raises:
        TypeError, ValueError: as `delta_rule_recurrent`; a log_decay above 0.

    Paper: Yang et al. 2024, arXiv:2412.06464.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> gated_delta_rule_recurrent(k, k, v, beta=np.array([1.0, 0.5]), log_decay=np.log([1.0, 0.5]))
    array([[1.  ],
           [1.75]])
    """
    return corrected(q, k, v, beta, check_log_decay(log_decay, k.shape[:-1], k.dtype), scale, initial_state, return_state)


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)", "log_decay": "(j)"}, states=("initial_state",))
def gated_delta_rule_chunked(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array, scale: float | None = None,
                             initial_state: Array | None = None, return_state: bool = False, chunk: int = 64) -> Any:
    """Returns the gated delta rule, parallel within chunks and recurrent between them.

    Formula, with b the running sum of log_decay within the chunk and L_ij = exp(b_i - b_j) for j <= i:
    (I + A) [U W] = diag(beta) [V, K exp(b)], A_ij = beta_i (k_i . k_j) L_ij for j < i; V' = U - W S,
    O = (Q exp(b)) S + ((Q K^T) L) V', S' = exp(b_C) S + (K exp(b_C - b))^T V'.

    Shapes: as `gated_delta_rule_recurrent`; `chunk` changes nothing.

    Raises:
        TypeError, ValueError: as `gated_delta_rule_recurrent`; chunk below 1.

    Paper: Yang et al. 2024, arXiv:2412.06464.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> gated_delta_rule_chunked(k, k, v, beta=np.array([1.0, 0.5]), log_decay=np.log([1.0, 0.5]))
    array([[1.  ],
           [1.75]])
    """
    log_decay = check_log_decay(log_decay, k.shape[:-1], k.dtype)
    return corrected_in_chunks(q, k, v, beta, log_decay, scale, initial_state, return_state, chunk)


delta_rule = delta_rule_recurrent
gated_delta_rule = gated_delta_rule_recurrent


def corrected(q: Array, k: Array, v: Array, beta: Array, log_decay: Array, scale: float | None,
              initial_state: Array | None, return_state: bool) -> Any:
    """Returns the recurrent form."""
    first = same_or_later(q, k)
    beta, state = check_gate("beta", beta, k.shape[:-1], k.dtype), check_matrix_state(initial_state, k, v)
    shape, rows = (*q.shape[:-1], v.shape[-1]), []
    queries, decay = split_group(q * linear_scale(scale), k.shape[-3]), np.exp(log_decay)
    for t in range(k.shape[-2]):
        state, key = state * decay[..., t, None, None], k[..., t, :]
        missing = v[..., t, :] - np.einsum("...d,...de->...e", key, state)
        state = state + key[..., :, None] * (beta[..., t, None] * missing)[..., None, :]
        if t >= first:
            rows.append(np.einsum("...gd,...de->...ge", queries[..., t - first, :], state))
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out


def corrected_in_chunks(q: Array, k: Array, v: Array, beta: Array, log_decay: Array, scale: float | None,
                        initial_state: Array | None, return_state: bool, chunk: int) -> Any:
    """Returns the chunked form."""
    chunk, first = positive_int("chunk", chunk), same_or_later(q, k)
    beta, state = check_gate("beta", beta, k.shape[:-1], k.dtype), check_matrix_state(initial_state, k, v)
    shape, outs = (*q.shape[:-1], v.shape[-1]), []
    queries = split_group(behind(q * linear_scale(scale), first), k.shape[-3])
    for start in range(0, k.shape[-2], chunk):
        s = slice(start, start + chunk)
        keys, values, rows, strength = k[..., s, :], v[..., s, :], queries[..., s, :], beta[..., s, None]
        before = np.cumsum(log_decay[..., s], axis=-1)[..., None]
        end = before[..., -1:, :]
        later = np.triu(np.ones((keys.shape[-2],) * 2, bool), 1)
        faded = np.exp(np.where(later, -np.inf, before - before.mT))
        inner = np.tril(strength * (keys @ keys.mT) * faded, -1)
        solved = substituted(inner, strength * np.concatenate((values, keys * np.exp(before)), axis=-1))
        written = solved[..., : v.shape[-1]] - solved[..., v.shape[-1] :] @ state
        inside = ((rows @ keys[..., None, :, :].mT) * faded[..., None, :, :]) @ written[..., None, :, :]
        outs.append(inside + (rows * np.exp(before)[..., None, :, :]) @ state[..., None, :, :])
        state = np.exp(end) * state + (keys * np.exp(end - before)).mT @ written
    out = np.concatenate(outs, axis=-2)[..., first:, :].reshape(shape) if outs else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out


def substituted(lower: Array, right: Array) -> Array:
    """Returns X with (I + lower) X = right, lower strictly lower triangular, row after row.

    Not np.linalg.solve: it pivots, and a later key would then change an earlier row.
    """
    rows: list[Array] = []
    for i in range(lower.shape[-1]):
        row = right[..., i, :]
        if rows:
            row = row - (lower[..., i : i + 1, :i] @ np.stack(rows, axis=-2))[..., 0, :]
        rows.append(row)
    return np.stack(rows, axis=-2) if rows else right
