"""mLSTM, parallel within chunks and recurrent between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.exponential_gates import bounded, check_logits, check_memory, reference
from tinyattn.ops.gates import behind, causal_values, decayed_products, log_decays_between
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import state_pair, with_ones
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"input_gate": "(j)", "forget_gate": "(j)"}, states=("initial_state",),
        waiting={"input_gate": -np.inf, "forget_gate": np.inf})
def mlstm_chunked(q: Array, k: Array, v: Array, *, input_gate: Array, forget_gate: Array, scale: float | None = None,
                  initial_state: Any = None, return_state: bool = False, chunk: int = 64) -> Any:
    """Returns what queries read from a matrix memory into which each token is written by an exponential gate; chunk by chunk.

    Formula, with b the running sum of f = log sigmoid(forget_gate) within a chunk and (S, n, m) the state before it:
    D_ij = b_i - b_j + input_gate_j for j <= i, m_i = max(b_i + m, max_j D_ij), w_ij = q_i . k_j exp(D_ij - m_i), out_i =
    (exp(b_i + m - m_i) S^T q_i + sum_j w_ij v_j) / max(|exp(b_i + m - m_i) n^T q_i + sum_j w_ij|, exp(-m_i)), q multiplied by
    scale; S' = exp(b_C + m - m_C) S + (K exp(D_C - m_C))^T V, n' likewise with ones in place of V, m' = m_C.

    Shapes: as `mlstm_recurrent`; the length need not be a multiple of `chunk`, which has no effect.

    Raises:
        TypeError, ValueError: as `mlstm_recurrent`; chunk below 1.

    Paper: Beck et al. 2024, arXiv:2405.04517.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> mlstm_chunked(k, k, v, input_gate=np.zeros(2), forget_gate=np.zeros(2), chunk=1).round(3)
    array([[1.   ],
           [2.333]])
    """
    chunk, first = whole("chunk", chunk, 1), first_position(q, k)
    wrote, kept = check_logits(input_gate, forget_gate, k.shape[:-1], k.dtype)
    memory, largest = check_memory(initial_state, k, v)
    state, largest = memory[..., None, :, :], largest[..., None, None, None]
    queries, values = split_group(behind(q * check_scale(scale), first), k.shape[-3]), with_ones(v)
    parts = [np.zeros((*queries.shape[:-2], 0, v.shape[-1]), q.dtype)]
    tokens = (queries, *(x[..., None, :, :] for x in (k, values, wrote[..., None], kept[..., None])))
    for start in range(0, k.shape[-2], chunk):
        rows, keys, written, gate, decay = (x[..., start : start + chunk, :] for x in tokens)
        between = log_decays_between(decay)[..., 0] + gate.mT
        carried = np.cumsum(decay, axis=-2) + largest
        maxima = np.maximum(carried, np.max(between, axis=-1, keepdims=True))
        before, within = np.exp(carried - reference(maxima)), np.exp(between - reference(maxima))
        sums = (rows * before) @ state + causal_values(decayed_products(rows, keys, within[..., None]), written)
        parts.append(bounded(sums, maxima[..., 0]))
        state, largest = before[..., -1:, :] * state + (keys * within[..., -1:, :].mT).mT @ written, maxima[..., -1:, :]
    out = np.concatenate(parts, axis=-2)[..., first:, :].reshape(*q.shape[:-1], v.shape[-1])
    return (out, (*state_pair(state[..., 0, :, :]), largest[..., 0, 0, 0])) if return_state else out
