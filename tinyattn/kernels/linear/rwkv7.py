"""RWKV-7's recurrence over the kernel of states of which tokens read."""

from __future__ import annotations

from typing import Any

from tinyattn.kernels.linear.parts import by_parts
from tinyattn.kernels.states.reading_primitive import reading_states
from tinyattn.ops.gates import check_gate, check_log_decay
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)", "removal": "(j,d)", "rate": "(j,d)"}, states=("initial_state",))
def rwkv7(q: Array, k: Array, v: Array, *, log_decay: Array, removal: Array, rate: Array, scale: float | None = None,
          initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns what queries read from a state that decays per channel and from which each token removes along a vector; compiled.

    Formula: S_t = diag(exp(log_decay_t)) S_{t-1} - (rate_t * removal_t) (removal_t^T S_{t-1}) + k_t v_t^T,
    out_t = scale S_t^T q_t, chunk by chunk.

    Shapes, options and errors are those of `tinyattn.definitions.rwkv7`.

    Paper: Peng et al. 2025, arXiv:2503.14456.

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[8.0], [0.0]])
    >>> rwkv7(k, k, v, log_decay=np.log([[1.0], [0.75]]), removal=k, rate=np.array([[0.0], [0.5]]))
    array([[8.],
           [2.]])
    """
    log_decay = check_log_decay(log_decay, k.shape, k.dtype)
    removal, rate = check_gate("removal", removal, k.shape, k.dtype), check_gate("rate", rate, k.shape, k.dtype)
    first_position(q, k)
    initial, factor = check_state(initial_state, k, v), check_scale(scale)

    def form(_start: int, q: Array, k: Array, v: Array, log_decay: Array, removal: Array, rate: Array, state: Array, *_: None) -> Any:
        return reading_states(q, k, v, log_decay, removal, None, rate, state, factor)

    out, state = by_parts(form, (q, k, v, log_decay, removal, rate), (initial,))
    return (out, state) if return_state else out
