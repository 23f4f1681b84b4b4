"""Simple gated linear attention (Mamba-2's SSD) over the kernel of states."""

from __future__ import annotations

from typing import Any

from tinyattn.kernels.states.primitive import states
from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.linear_options import check_state, still_donated
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)"}, states=("initial_state",))
def simple_gated_linear_attention(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                  initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns gated linear attention whose channels all decay alike, by one factor per token; compiled.

    Formula: S_t = exp(log_decay_t) S_{t-1} + k_t v_t^T, out_t = scale S_t^T q_t, chunk by chunk.

    Shapes, options and errors are those of `tinyattn.definitions.simple_gated_linear_attention`.

    Paper: Dao and Gu 2024, arXiv:2405.21060.

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> simple_gated_linear_attention(k, k, v, log_decay=np.log([0.5, 0.5]))
    array([[1. ],
           [3.5]])
    """
    log_decay = check_log_decay(log_decay, k.shape[:-1], k.dtype)
    state = still_donated(initial_state, check_state(initial_state, k, v))
    first_position(q, k)
    out, state = states(q, k, v, log_decay, None, state, check_scale(scale))
    return (out, state) if return_state else out
