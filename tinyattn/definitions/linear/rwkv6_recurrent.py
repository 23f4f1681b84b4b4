"""RWKV-6, one token at a time: a token reads the state before it writes, and its own value through a bonus per channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_channel_decay, check_gate
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)"}, states=("bonus", "initial_state"), waiting=None)
def rwkv6_recurrent(q: Array, k: Array, v: Array, *, log_decay: Array, bonus: Array, scale: float | None = None,
                    initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns what queries read from a state that decays per channel, before their own token is written into it.

    Formula: out_t = scale (S_{t-1} + diag(bonus) k_t v_t^T)^T q_t, then S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T.
    Neither a key's own decay nor the query's own applies between the two. The state is that of gated linear attention.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_decay (..., kv_heads, j, d), or with a
    last axis of 1 for one decay of all channels, bonus (kv_heads, d) -> (..., heads, i, e); with return_state also the state
    (..., kv_heads, d, e) after the last token.

    Raises:
        TypeError, ValueError: arrays of another dtype or shape, log decays above 0 or NaN, a bonus that is not finite, more
            queries than keys.

    Paper: Peng et al. 2024, arXiv:2404.05892.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> rwkv6_recurrent(k, k, v, log_decay=np.log([[0.5], [0.5]]), bonus=np.array([2.0]))
    array([[2.],
           [7.]])
    """
    log_decay, bonus = check_channel_decay(log_decay, k), check_gate("bonus", bonus, (k.shape[-3], k.shape[-1]), k.dtype)
    state, first = check_state(initial_state, k, v), first_position(q, k)
    queries = split_group(q * check_scale(scale), k.shape[-3])
    decay, rows, shape = np.exp(log_decay), [], (*q.shape[:-1], v.shape[-1])
    for t in range(k.shape[-2]):
        written = k[..., t, :, None] * v[..., t, None, :]
        if t >= first:
            rows.append(queries[..., t - first, :] @ (state + bonus[..., None] * written))
        state = decay[..., t, :, None] * state + written
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, state) if return_state else out


rwkv6 = rwkv6_recurrent
