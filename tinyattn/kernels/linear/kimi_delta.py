"""Kimi delta attention (KDA) over the kernel of states that each token reads before it writes."""

from __future__ import annotations

from typing import Any

from tinyattn.kernels.linear.parts import by_parts
from tinyattn.kernels.states.reading_primitive import reading_states
from tinyattn.ops.gates import check_gate, check_log_decay
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)", "log_decay": "(j,d)"}, states=("initial_state",))
def kimi_delta_attention(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array, scale: float | None = None,
                         initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns the delta rule on a state whose channels decay, each by its own factor, before each token corrects it; compiled.

    Formula: S' = diag(exp(log_decay_t)) S_{t-1}, S_t = S' + beta_t k_t (v_t - S'^T k_t)^T, out_t = scale S_t^T q_t, chunk by chunk.

    Shapes, options and errors are those of `tinyattn.definitions.kimi_delta_attention`.

    Paper: Kimi Team 2025, arXiv:2510.26692.

    >>> import numpy as np
    >>> k = np.eye(2); v = np.array([[8.0], [4.0]]); halved = np.log([[1.0, 1.0], [0.5, 1.0]])
    >>> kimi_delta_attention(np.ones((2, 2)), k, v, beta=np.ones(2), log_decay=halved)
    array([[8.],
           [8.]])
    """
    log_decay, beta = check_log_decay(log_decay, k.shape, k.dtype), check_gate("beta", beta, k.shape[:-1], k.dtype)
    first_position(q, k)
    initial, factor = check_state(initial_state, k, v), check_scale(scale)

    def form(_start: int, q: Array, k: Array, v: Array, log_decay: Array, beta: Array, _: None, state: Array, *_none: None) -> Any:
        return reading_states(q, k, v, log_decay, None, None, beta, state, factor)

    out, state = by_parts(form, (q, k, v, log_decay, beta), (initial,))
    return (out, state) if return_state else out
