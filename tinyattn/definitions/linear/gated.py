"""Linear attention that forgets: the state decays by a number a token (retention, Mamba-2's SSD) or a number a channel (GLA)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import behind, check_log_decay, check_matrix_state
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import linear_scale, positive_int, same_or_later
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)"}, states=("initial_state",))
def gated_linear_attention_parallel(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                    initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns what queries read from a state whose channels fade, as one weighted sum over all earlier tokens.

    Formula: out_i = scale sum_{j <= i} (sum_d q_id k_jd exp(b_id - b_jd)) v_j, b the running sum of log_decay. A query
    stands behind all keys but the last q_len.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_decay (..., kv_heads, j, d)
    -> (..., heads, i, e); the state (..., kv_heads, d, e).

    Args:
        q: queries.
        k: keys, which their own token's decay does not touch.
        v: values.
        log_decay: at most 0.
        scale: factor of q; None is 1.
        initial_state: what earlier tokens left.
        return_state: give (out, state after all tokens).

    Raises:
        TypeError, ValueError: arrays of another kind or shape, a log_decay above 0 or not finite, more queries than keys.

    Paper: Yang et al. 2023, arXiv:2312.06635.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> gated_linear_attention_parallel(k, k, v, log_decay=np.log([[0.5], [0.5]]))
    array([[1. ],
           [3.5]])
    """
    return weighted_sum(q, k, v, check_log_decay(log_decay, k.shape, k.dtype), scale, initial_state, return_state)


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)"}, states=("initial_state",))
def gated_linear_attention_recurrent(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                     initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns gated linear attention from a state that takes in one token at a time.

    Formula: S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T, out_t = scale S_t^T q_t.

    Shapes: as `gated_linear_attention_parallel`.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`.

    Paper: Yang et al. 2023, arXiv:2312.06635.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> gated_linear_attention_recurrent(k, k, v, log_decay=np.log([[0.5], [0.5]]))
    array([[1. ],
           [3.5]])
    """
    return one_by_one(q, k, v, check_log_decay(log_decay, k.shape, k.dtype), scale, initial_state, return_state)


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)"}, states=("initial_state",))
def gated_linear_attention_chunked(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                   initial_state: Array | None = None, return_state: bool = False, chunk: int = 64) -> Any:
    """Returns gated linear attention, parallel within chunks and recurrent between them.

    Formula, with b the running sum of log_decay within a chunk and S the state before it:
    O = (Q exp(b)) S + W V, W_ij = sum_d q_id k_jd exp(b_id - b_jd) for j <= i; S' = diag(exp(b_C)) S +
    (K exp(b_C - b))^T V. Only differences that are at most 0 meet exp, so that no decay overflows.

    Shapes: as `gated_linear_attention_parallel`; the length need not divide by `chunk`, and `chunk` changes nothing.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`; chunk below 1.

    Paper: Yang et al. 2023, arXiv:2312.06635.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> gated_linear_attention_chunked(k, k, v, log_decay=np.log([[0.5], [0.5]]), chunk=1)
    array([[1. ],
           [3.5]])
    """
    return in_chunks(q, k, v, check_log_decay(log_decay, k.shape, k.dtype), scale, initial_state, return_state, chunk)


gated_linear_attention = gated_linear_attention_parallel


def pairs(queries: Array, keys: Array, before_q: Array, before_k: Array) -> Array:
    """Returns sum_d q_id k_jd exp(b_id - b_jd), 0 where j stands after i.

    queries (..., groups, i, d), keys (..., j, d), running sums (..., i, w) and (..., j, w) with w = d, or 1 for a decay
    that all channels share.
    """
    q_len, kv_len = queries.shape[-2], keys.shape[-2]
    later = np.arange(kv_len) > np.arange(q_len)[:, None] + (kv_len - q_len)
    # Hidden before exp: a difference above 0 would overflow, and inf times 0 is NaN.
    apart = np.where(later[..., None], -np.inf, before_q[..., :, None, :] - before_k[..., None, :, :])
    faded = np.exp(apart)[..., None, :, :, :]
    if before_q.shape[-1] == 1:
        return (queries @ keys[..., None, :, :].mT) * faded[..., 0]
    return np.sum(queries[..., :, None, :] * keys[..., None, None, :, :] * faded, axis=-1)


def weighted_sum(q: Array, k: Array, v: Array, log_decay: Array, scale: float | None, initial_state: Array | None,
                 return_state: bool) -> Any:
    """Returns the parallel form; log_decay (..., kv_heads, j, d or 1)."""
    first = same_or_later(q, k)
    state = check_matrix_state(initial_state, k, v)
    queries = split_group(q * linear_scale(scale), k.shape[-3])
    before = np.cumsum(log_decay, axis=-2)
    asked = before[..., first:, :]
    weights = pairs(queries, k, asked, before)
    out = weights @ v[..., None, :, :] + (queries * np.exp(asked)[..., None, :, :]) @ state[..., None, :, :]
    out = out.reshape(*q.shape[:-1], v.shape[-1])
    if not return_state:
        return out
    end = np.sum(log_decay, axis=-2, keepdims=True)
    return out, np.exp(end).mT * state + (k * np.exp(end - before)).mT @ v


def one_by_one(q: Array, k: Array, v: Array, log_decay: Array, scale: float | None, initial_state: Array | None,
               return_state: bool) -> Any:
    """Returns the recurrent form; log_decay (..., kv_heads, j, d or 1)."""
    first = same_or_later(q, k)
    state = check_matrix_state(initial_state, k, v)
    shape = (*q.shape[:-1], v.shape[-1])
    queries = split_group(q * linear_scale(scale), k.shape[-3])
    decay, rows = np.exp(log_decay), []
    for t in range(k.shape[-2]):
        state = state * decay[..., t, :, None] + k[..., t, :, None] * v[..., t, None, :]
        if t >= first:
            rows.append(np.einsum("...gd,...de->...ge", queries[..., t - first, :], state))
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out


def in_chunks(q: Array, k: Array, v: Array, log_decay: Array, scale: float | None, initial_state: Array | None,
              return_state: bool, chunk: int) -> Any:
    """Returns the chunked form; log_decay (..., kv_heads, j, d or 1)."""
    chunk, first = positive_int("chunk", chunk), same_or_later(q, k)
    state = check_matrix_state(initial_state, k, v)
    shape, outs = (*q.shape[:-1], v.shape[-1]), []
    queries = split_group(behind(q * linear_scale(scale), first), k.shape[-3])
    for start in range(0, k.shape[-2], chunk):
        s = slice(start, start + chunk)
        keys, values, rows = k[..., s, :], v[..., s, :], queries[..., s, :]
        before = np.cumsum(log_decay[..., s, :], axis=-2)
        end = before[..., -1:, :]
        inside = pairs(rows, keys, before, before) @ values[..., None, :, :]
        outs.append(inside + (rows * np.exp(before)[..., None, :, :]) @ state[..., None, :, :])
        state = np.exp(end).mT * state + (keys * np.exp(end - before)).mT @ values
    out = np.concatenate(outs, axis=-2)[..., first:, :].reshape(shape) if outs else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out
