"""mLSTM, one token at a time: the matrix memory of xLSTM, with an exponential input gate and a normaliser."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.exponential_gates import bounded, check_logits, check_memory, reference
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import state_pair, with_ones
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"input_gate": "(j)", "forget_gate": "(j)"}, states=("initial_state",),
        waiting={"input_gate": -np.inf, "forget_gate": np.inf})
def mlstm_recurrent(q: Array, k: Array, v: Array, *, input_gate: Array, forget_gate: Array, scale: float | None = None,
                    initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns what queries read from a matrix memory into which each token is written by an exponential gate.

    Formula, with i_t = input_gate_t and f_t = log sigmoid(forget_gate_t): m_t = max(f_t + m_{t-1}, i_t), S_t =
    exp(f_t + m_{t-1} - m_t) S_{t-1} + exp(i_t - m_t) k_t v_t^T, n_t likewise with 1 in place of v_t,
    out_t = S_t^T q_t / max(|n_t^T q_t|, exp(-m_t)), q multiplied by scale. What the state stands for is S exp(m) and n exp(m).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), input_gate and forget_gate (..., kv_heads, j)
    -> (..., heads, i, e); the state is the triple (S, n, m) of shapes (..., kv_heads, d, e), (..., kv_heads, d) and
    (..., kv_heads); m is -inf before the first token.

    Raises:
        TypeError, ValueError: arrays of another dtype or shape, an input gate of NaN or +inf, a forget gate of NaN, an initial
            state that is not a triple, more queries than keys.

    Paper: Beck et al. 2024, arXiv:2405.04517.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> mlstm_recurrent(k, k, v, input_gate=np.zeros(2), forget_gate=np.zeros(2)).round(3)
    array([[1.   ],
           [2.333]])
    """
    wrote, kept = check_logits(input_gate, forget_gate, k.shape[:-1], k.dtype)
    (state, largest), first = check_memory(initial_state, k, v), first_position(q, k)
    queries, values, rows = split_group(q * check_scale(scale), k.shape[-3]), with_ones(v), []
    for t in range(k.shape[-2]):
        carried = kept[..., t] + largest
        largest = np.maximum(carried, wrote[..., t])
        decay, strength = np.exp(carried - reference(largest)), np.exp(wrote[..., t] - reference(largest))
        state = decay[..., None, None] * state + (strength[..., None] * k[..., t, :])[..., None] * values[..., t, None, :]
        if t >= first:
            rows.append(bounded(queries[..., t - first, :] @ state, largest[..., None]))
    shape = (*q.shape[:-1], v.shape[-1])
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, (*state_pair(state), largest)) if return_state else out


mlstm = mlstm_recurrent
