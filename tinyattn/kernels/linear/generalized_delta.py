"""The generalized delta rule over the kernel of states that each token reads before it writes."""

from __future__ import annotations

from typing import Any

from tinyattn.kernels.linear.parts import by_parts
from tinyattn.kernels.states.reading_primitive import reading_states
from tinyattn.ops.gates import check_gate, check_log_decay
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)", "read": "(j,d)", "write": "(j,d)"}, states=("initial_state",))
def generalized_delta_rule(q: Array, k: Array, v: Array, *, log_decay: Array, read: Array, write: Array, scale: float | None = None,
                           initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns what queries read from a state that each token reads along one vector and changes along another; compiled.

    Formula: S_t = diag(exp(log_decay_t)) S_{t-1} + write_t (read_t^T S_{t-1}) + k_t v_t^T, out_t = scale S_t^T q_t, chunk by chunk. It
    takes half the work where `write` is the same array as k.

    Shapes, options and errors are those of `tinyattn.definitions.generalized_delta_rule`.

    Paper: Peng et al. 2025, arXiv:2503.14456.

    >>> import numpy as np
    >>> k = np.eye(2); v = np.array([[1.0], [3.0]]); none = np.zeros((2, 2))
    >>> generalized_delta_rule(k, k, v, log_decay=none, read=np.array([[0.0, 0.0], [1.0, 0.0]]), write=k)
    array([[1.],
           [4.]])
    """
    log_decay = check_log_decay(log_decay, k.shape, k.dtype)
    read, along = check_gate("read", read, k.shape, k.dtype), check_gate("write", write, k.shape, k.dtype)
    first_position(q, k)
    initial, factor = check_state(initial_state, k, v), check_scale(scale)

    def form(_start: int, q: Array, k: Array, v: Array, log_decay: Array, read: Array, along: Any, state: Array, *_: None) -> Any:
        return reading_states(q, k, v, log_decay, read, along, None, state, factor)

    gates = (log_decay, read, None if write is k else along)
    out, state = by_parts(form, (q, k, v, *gates), (initial,))
    return (out, state) if return_state else out
