"""Kimi delta attention (KDA), parallel within chunks and recurrent between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions.linear.gated_delta_chunked import substituted
from tinyattn.ops.checks import whole
from tinyattn.ops.gates import behind, causal_values, check_gate, check_log_decay, decayed_products, decays_between
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)", "log_decay": "(j,d)"}, states=("initial_state",))
def kimi_delta_attention_chunked(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array, scale: float | None = None,
                                 initial_state: Array | None = None, return_state: bool = False, chunk: int = 16) -> Any:
    """Returns Kimi delta attention, parallel within chunks and recurrent between them.

    Formula, with b the running sum of log_decay within a chunk, S the state before it and
    [Q, K]_ij = sum_d q_id k_jd exp(b_id - b_jd): (I + A) X = diag(beta) (V - (K exp(b)) S), A_ij = beta_i [K, K]_ij for j < i, by
    substitution; O = scale ((Q exp(b)) S + tril([Q, K]) X), S' = diag(exp(b_C)) S + (K exp(b_C - b))^T X.

    Shapes: as `kimi_delta_attention_recurrent`; the length need not be a multiple of `chunk`, which has no effect.

    Raises:
        TypeError, ValueError: as `kimi_delta_attention_recurrent`; chunk below 1.

    Paper: Kimi Team 2025, arXiv:2510.26692.

    >>> k = np.array([[1.0, 0.0], [0.0, 1.0]]); v = np.array([[8.0], [4.0]]); halved = np.log([[1.0, 1.0], [0.5, 1.0]])
    >>> kimi_delta_attention_chunked(np.ones((2, 2)), k, v, beta=np.ones(2), log_decay=halved)
    array([[8.],
           [8.]])
    """
    log_decay, beta = check_log_decay(log_decay, k.shape, k.dtype), check_gate("beta", beta, k.shape[:-1], k.dtype)
    chunk, first = whole("chunk", chunk, 1), first_position(q, k)
    state = check_state(initial_state, k, v)[..., None, :, :]
    queries = split_group(behind(q * check_scale(scale), first), k.shape[-3])
    parts = [np.zeros((*queries.shape[:-2], 0, v.shape[-1]), q.dtype)]
    tokens = (queries, *(x[..., None, :, :] for x in (k, v, beta[..., None], log_decay)))
    for start in range(0, k.shape[-2], chunk):
        rows, keys, values, strength, decay = (x[..., start : start + chunk, :] for x in tokens)
        before, between = np.exp(np.cumsum(decay, axis=-2)), decays_between(decay)
        inner = np.tril(strength * decayed_products(keys, keys, between), -1)
        written = substituted(inner, strength * (values - (keys * before) @ state))
        parts.append((rows * before) @ state + causal_values(decayed_products(rows, keys, between), written))
        state = before[..., -1:, :].mT * state + (keys * between[..., -1, :, :]).mT @ written
    out = np.concatenate(parts, axis=-2)[..., first:, :].reshape(*q.shape[:-1], v.shape[-1])
    return (out, state[..., 0, :, :]) if return_state else out
