"""Gated linear attention, parallel within chunks and recurrent between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.gates import behind, causal_values, check_channel_decay, decayed_products, decays_between
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)"}, states=("initial_state",))
def gated_linear_attention_chunked(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                   initial_state: Array | None = None, return_state: bool = False, chunk: int = 16) -> Any:
    """Returns gated linear attention, parallel within chunks and recurrent between them.

    Formula, with b the running sum of log_decay within a chunk and S the state before it:
    O = (Q exp(b)) S + W V, W_ij = sum_d q_id k_jd exp(b_id - b_jd) for j <= i; S' = diag(exp(b_C)) S +
    (K exp(b_C - b))^T V. Each b_i - b_j is summed by itself: no decay overflows, and none is lost in rounding.

    Shapes: as `gated_linear_attention_parallel`; the length need not be a multiple of `chunk`, which has no effect.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`; chunk below 1.

    Paper: Yang et al. 2023, arXiv:2312.06635.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> gated_linear_attention_chunked(k, k, v, log_decay=np.log([[0.5], [0.5]]), chunk=1)
    array([[1. ],
           [3.5]])
    """
    chunk, first = whole("chunk", chunk, 1), first_position(q, k)
    log_decay, state = check_channel_decay(log_decay, k), check_state(initial_state, k, v)[..., None, :, :]
    queries = split_group(behind(q * check_scale(scale), first), k.shape[-3])
    parts = [np.zeros((*queries.shape[:-2], 0, v.shape[-1]), q.dtype)]
    tokens = (queries, *(x[..., None, :, :] for x in (k, v, log_decay)))  # (..., kv_heads, groups or 1, j, width)
    for start in range(0, k.shape[-2], chunk):
        rows, keys, values, decay = (x[..., start : start + chunk, :] for x in tokens)
        before, between = np.exp(np.cumsum(decay, axis=-2)), decays_between(decay)
        parts.append((rows * before) @ state + causal_values(decayed_products(rows, keys, between), values))
        state = before[..., -1:, :].mT * state + (keys * between[..., -1, :, :]).mT @ values
    out = np.concatenate(parts, axis=-2)[..., first:, :].reshape(*q.shape[:-1], v.shape[-1])
    return (out, state[..., 0, :, :]) if return_state else out


gated_linear_attention = gated_linear_attention_chunked
