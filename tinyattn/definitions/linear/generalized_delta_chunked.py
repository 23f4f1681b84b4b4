"""The generalized delta rule, parallel within chunks and recurrent between them."""

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


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)", "read": "(j,d)", "write": "(j,d)"}, states=("initial_state",))
def generalized_delta_rule_chunked(q: Array, k: Array, v: Array, *, log_decay: Array, read: Array, write: Array,
                                   scale: float | None = None, initial_state: Array | None = None, return_state: bool = False,
                                   chunk: int = 16) -> Any:
    """Returns the generalized delta rule, parallel within chunks and recurrent between them.

    Formula, with b the running sum of log_decay within a chunk and S the state before it, A for read and B for write:
    Y = (A exp(b before)) S + (A, K) V + (A, B) Y by substitution, where (A, B)_ij = sum_d a_id b_jd exp(b_{i-1,d} - b_jd) for j < i;
    O = scale ((Q exp(b)) S + [Q, K] V + [Q, B] Y), where [Q, K]_ij = sum_d q_id k_jd exp(b_id - b_jd) for j <= i;
    S' = diag(exp(b_C)) S + (K exp(b_C - b))^T V + (B exp(b_C - b))^T Y.

    Shapes: as `generalized_delta_rule_recurrent`; the length need not be a multiple of `chunk`, which has no effect.

    Raises:
        TypeError, ValueError: as `generalized_delta_rule_recurrent`; chunk below 1.

    Paper: Peng et al. 2025, arXiv:2503.14456.

    >>> k = np.eye(2); v = np.array([[1.0], [3.0]]); none = np.zeros((2, 2))
    >>> generalized_delta_rule_chunked(k, k, v, log_decay=none, read=np.array([[0.0, 0.0], [1.0, 0.0]]), write=k)
    array([[1.],
           [4.]])
    """
    log_decay = check_log_decay(log_decay, k.shape, k.dtype)
    read, write = check_gate("read", read, k.shape, k.dtype), check_gate("write", write, k.shape, k.dtype)
    chunk, first = whole("chunk", chunk, 1), first_position(q, k)
    state = check_state(initial_state, k, v)[..., None, :, :]
    queries = split_group(behind(q * check_scale(scale), first), k.shape[-3])
    parts = [np.zeros((*queries.shape[:-2], 0, v.shape[-1]), q.dtype)]
    tokens = (queries, *(x[..., None, :, :] for x in (k, v, log_decay, read, write)))
    for start in range(0, k.shape[-2], chunk):
        rows, keys, values, decay, reads, writes = (x[..., start : start + chunk, :] for x in tokens)
        since, between = np.exp(np.cumsum(decay, axis=-2)), decays_between(decay)
        # A token reads what the state is before its own decay.
        since_read = np.concatenate((np.ones_like(since[..., :1, :]), since[..., :-1, :]), axis=-2)
        to_read = np.concatenate((np.zeros_like(between[..., :1, :, :]), between[..., :-1, :, :]), axis=-3)
        found = (reads * since_read) @ state + causal_values(decayed_products(reads, keys, to_read), values)
        stored = substituted(-decayed_products(reads, writes, to_read), found)
        parts.append((rows * since) @ state + causal_values(decayed_products(rows, keys, between), values)
                     + causal_values(decayed_products(rows, writes, between), stored))
        left = between[..., -1, :, :]
        state = since[..., -1:, :].mT * state + (keys * left).mT @ values + (writes * left).mT @ stored
    out = np.concatenate(parts, axis=-2)[..., first:, :].reshape(*q.shape[:-1], v.shape[-1])
    return (out, state[..., 0, :, :]) if return_state else out
