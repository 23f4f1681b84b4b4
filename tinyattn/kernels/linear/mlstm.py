"""mLSTM over the kernel of states: decays and keys relative to the running maximum, and values with a column of ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.linear.parts import by_parts
from tinyattn.kernels.states.primitive import states
from tinyattn.ops.exponential_gates import bounded, check_logits, check_memory, reference, running_maximum
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import state_pair, with_ones
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
    first_position(q, k)
    factor = check_scale(scale)

    def form(_start: int, q: Array, k: Array, v: Array, wrote: Array, kept: Array, _: None, state: Array, before: Array,
             *_none: None) -> Any:
        return remembered(q, k, v, wrote, kept, state, before, factor)

    # Its normaliser is read of what the kernel gives.
    out, state, maximum = by_parts(form, (q, k, v, wrote, kept), check_memory(initial_state, k, v), outs=True)
    return (out, (*state_pair(state), maximum)) if return_state else out


def remembered(q: Array, k: Array, v: Array, wrote: Array, kept: Array, state: Array, before: Array,
               factor: float) -> tuple[Array, Array, Array]:
    """Returns what queries read, the last state, whose last column is its normaliser, and the last maximum."""
    first = k.shape[-2] - q.shape[-2]
    maxima = running_maximum(wrote, kept, before)  # (..., kv_heads, j + 1), the first of them that of the initial state
    since, largest = reference(maxima[..., 1:]), maxima[..., first + 1 :]
    decay = np.minimum(kept + maxima[..., :-1] - since, 0)
    sums, state = states(q, k * np.exp(wrote - since)[..., None], with_ones(v), decay, None, state, factor)
    out = bounded(split_group(sums, k.shape[-3]), largest[..., None, :]).reshape(*q.shape[:-1], v.shape[-1])
    return out, state, maxima[..., -1]
