"""Gated linear attention (GLA) over the kernel of states."""

from __future__ import annotations

from typing import Any

from tinyattn.kernels.states.primitive import states
from tinyattn.ops.checks import whole
from tinyattn.ops.gates import check_channel_decay
from tinyattn.ops.linear_options import check_state, still_donated
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)"}, states=("initial_state",))
def gated_linear_attention(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                           initial_state: Array | None = None, return_state: bool = False, chunk: int = 16) -> Any:
    """Returns linear attention whose state decays per channel; compiled.

    Formula: S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T, out_t = scale S_t^T q_t, chunk by chunk; `chunk` has no effect on it.

    Shapes, options and errors are those of `tinyattn.definitions.gated_linear_attention`.

    Paper: Yang et al. 2023, arXiv:2312.06635.

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> gated_linear_attention(k, k, v, log_decay=np.log([[0.5], [0.5]]), chunk=1)
    array([[1. ],
           [3.5]])
    """
    whole("chunk", chunk, 1)
    first_position(q, k)
    log_decay = check_channel_decay(log_decay, k)
    if log_decay.shape[-1] == 1 < k.shape[-1]:
        log_decay = log_decay[..., 0]  # one decay for all channels
    out, state = states(q, k, v, log_decay, None, still_donated(initial_state, check_state(initial_state, k, v)), check_scale(scale))
    return (out, state) if return_state else out
