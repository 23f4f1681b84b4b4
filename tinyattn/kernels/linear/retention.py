"""Retention over the kernel of states."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.states.primitive import states
from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.linear_options import check_state, still_donated
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("log_decay", "initial_state"))
def retention(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
              initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns linear attention in which the weight of a key decays by a fixed factor per token; compiled.

    Formula: S_t = gamma S_{t-1} + k_t v_t^T, out_t = scale S_t^T q_t, gamma = exp(log_decay), chunk by chunk.

    Shapes, options and errors are those of `tinyattn.definitions.retention`.

    Paper: Sun et al. 2023, arXiv:2307.08621.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> retention(k, k, v, log_decay=np.log(0.5))
    array([[1. ],
           [3.5]])
    """
    log_decay = check_log_decay(log_decay, k.shape[-3:-2], k.dtype)[:, None] + np.zeros(k.shape[:-1], k.dtype)
    state = still_donated(initial_state, check_state(initial_state, k, v))
    first_position(q, k)
    out, state = states(q, k, v, log_decay, None, state, check_scale(scale))
    return (out, state) if return_state else out
