"""The gated delta rule, parallel within chunks and recurrent between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.gates import behind, causal_values, check_gate, check_log_decay, decayed_products, decays_between
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)", "log_decay": "(j)"}, states=("initial_state",))
def gated_delta_rule_chunked(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array, scale: float | None = None,
                             initial_state: Array | None = None, return_state: bool = False, chunk: int = 64) -> Any:
    """Returns the gated delta rule, parallel within chunks and recurrent between them.

    Formula, with b the running sum of log_decay within the chunk and L_ij = exp(b_i - b_j) for j <= i:
    (I + A) X = diag(beta) (V - (K exp(b)) S), A_ij = beta_i (k_i . k_j) L_ij for j < i, by substitution;
    O = (Q exp(b)) S + ((Q K^T) L) X, S' = exp(b_C) S + (K exp(b_C - b))^T X.

    Shapes: as `gated_delta_rule_recurrent`; `chunk` has no effect on the result.

    Raises:
        TypeError, ValueError: as `gated_delta_rule_recurrent`; chunk below 1.

    Paper: Yang et al. 2024, arXiv:2412.06464.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> gated_delta_rule_chunked(k, k, v, beta=np.array([1.0, 0.5]), log_decay=np.log([1.0, 0.5]))
    array([[1.  ],
           [1.75]])
    """
    log_decay, beta = check_log_decay(log_decay, k.shape[:-1], k.dtype), check_gate("beta", beta, k.shape[:-1], k.dtype)
    chunk, first = whole("chunk", chunk, 1), first_position(q, k)
    state = check_state(initial_state, k, v)[..., None, :, :]
    queries = split_group(behind(q * check_scale(scale), first), k.shape[-3])
    parts = [np.zeros((*queries.shape[:-2], 0, v.shape[-1]), q.dtype)]
    tokens = (queries, *(x[..., None, :, :] for x in (k, v, beta[..., None], log_decay[..., None])))
    for start in range(0, k.shape[-2], chunk):
        rows, keys, values, strength, decay = (x[..., start : start + chunk, :] for x in tokens)
        before, between = np.exp(np.cumsum(decay, axis=-2)), decays_between(decay)
        inner = np.tril(strength * decayed_products(keys, keys, between), -1)
        written = substituted(inner, strength * (values - (keys * before) @ state))
        parts.append((rows * before) @ state + causal_values(decayed_products(rows, keys, between), written))
        state = before[..., -1:, :] * state + (keys * between[..., -1, :, :]).mT @ written
    out = np.concatenate(parts, axis=-2)[..., first:, :].reshape(*q.shape[:-1], v.shape[-1])
    return (out, state[..., 0, :, :]) if return_state else out


def substituted(lower: Array, right: Array) -> Array:
    """Returns X with (I + lower) X = right, lower strictly triangular: solves the first half, subtracts its part, solves the second.

    Not np.linalg.solve: it pivots, and a later key would then change an earlier row.
    """
    half = lower.shape[-1] // 2
    if not half:
        return right
    first = substituted(lower[..., :half, :half], right[..., :half, :])
    rest = right[..., half:, :] - lower[..., half:, :half] @ first
    return np.concatenate((first, substituted(lower[..., half:, half:], rest)), axis=-2)
