"""RWKV-6, parallel within chunks and recurrent between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.gates import behind, causal_values, check_channel_decay, check_gate, decayed_products, decays_between
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)"}, states=("bonus", "initial_state"), waiting=None)
def rwkv6_chunked(q: Array, k: Array, v: Array, *, log_decay: Array, bonus: Array, scale: float | None = None,
                  initial_state: Array | None = None, return_state: bool = False, chunk: int = 16) -> Any:
    """Returns what queries read from a state that decays per channel, before their own token is written; chunk by chunk.

    Formula, with b the running sum of log_decay within a chunk, b_0 = 0, and S the state before it: out_i = (q_i exp(b_{i-1})) S +
    sum_{j < i} w_ij v_j + (sum_d q_id bonus_d k_id) v_i, w_ij = sum_d q_id k_jd exp(b_{i-1,d} - b_jd), q multiplied by scale;
    S' = diag(exp(b_C)) S + (K exp(b_C - b))^T V.

    Shapes: as `rwkv6_recurrent`; the length need not be a multiple of `chunk`, which has no effect.

    Raises:
        TypeError, ValueError: as `rwkv6_recurrent`; chunk below 1.

    Paper: Peng et al. 2024, arXiv:2404.05892.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> rwkv6_chunked(k, k, v, log_decay=np.log([[0.5], [0.5]]), bonus=np.array([2.0]), chunk=1)
    array([[2.],
           [7.]])
    """
    chunk, first = whole("chunk", chunk, 1), first_position(q, k)
    log_decay, bonus = check_channel_decay(log_decay, k), check_gate("bonus", bonus, (k.shape[-3], k.shape[-1]), k.dtype)
    state = check_state(initial_state, k, v)[..., None, :, :]
    queries = split_group(behind(q * check_scale(scale), first), k.shape[-3])
    parts = [np.zeros((*queries.shape[:-2], 0, v.shape[-1]), q.dtype)]
    tokens = (queries, *(x[..., None, :, :] for x in (k, v, log_decay)))  # (..., kv_heads, groups or 1, j, width)
    for start in range(0, k.shape[-2], chunk):
        rows, keys, values, decay = (x[..., start : start + chunk, :] for x in tokens)
        before, between = np.exp(np.cumsum(behind(decay[..., :-1, :], 1), axis=-2)), decays_between(decay)
        earlier = decayed_products(rows[..., 1:, :], keys[..., :-1, :], between[..., :-1, :-1, :])
        own = np.sum(rows * bonus[..., None, None, :] * keys, axis=-1, keepdims=True) * values
        parts.append((rows * before) @ state + behind(causal_values(earlier, values[..., :-1, :]), 1) + own)
        state = np.exp(np.sum(decay, axis=-2))[..., None] * state + (keys * between[..., -1, :, :]).mT @ values
    out = np.concatenate(parts, axis=-2)[..., first:, :].reshape(*q.shape[:-1], v.shape[-1])
    return (out, state[..., 0, :, :]) if return_state else out
