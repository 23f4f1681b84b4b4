"""mLSTM over the kernel of states: decays and keys relative to the running maximum, and a normaliser that fades."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.states.memory_primitive import memory_states
from tinyattn.ops.exponential_gates import check_logits, check_memory
from tinyattn.ops.linear_options import state_pair
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"input_gate": "(j)", "forget_gate": "(j)"}, states=("initial_state",),
        waiting={"input_gate": -np.inf, "forget_gate": np.inf})
def mlstm(q: Array, k: Array, v: Array, *, input_gate: Array, forget_gate: Array, scale: float | None = None,
          initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns what queries read from a matrix memory into which each token is written by an exponential gate; compiled.

    Formula: m_t = max(f_t + m_{t-1}, i_t), S_t = exp(f_t + m_{t-1} - m_t) S_{t-1} + exp(i_t - m_t) k_t v_t^T, n_t likewise with 1 in
    place of v_t, out_t = S_t^T q_t / max(|n_t^T q_t|, exp(-m_t)), q multiplied by scale, chunk by chunk.

    Shapes, options and errors are those of `tinyattn.definitions.mlstm`.

    Paper: Beck et al. 2024, arXiv:2405.04517.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> mlstm(k, k, v, input_gate=np.zeros(2), forget_gate=np.zeros(2)).round(3)
    array([[1.   ],
           [2.333]])
    """
    wrote, kept = check_logits(input_gate, forget_gate, k.shape[:-1], k.dtype)
    memory, maximum = check_memory(initial_state, k, v)
    first_position(q, k)
    out, *last = memory_states(q, k, v, wrote, kept, *state_pair(memory), maximum, check_scale(scale))
    return (out, tuple(last)) if return_state else out
