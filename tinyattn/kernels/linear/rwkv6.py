"""RWKV-6 over the kernel of states: gated linear attention that each query reads before its token is written, and a bonus."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.states.before_primitive import states_before
from tinyattn.ops.gates import check_channel_decay, check_gate
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)"}, states=("bonus", "initial_state"), waiting=None)
def rwkv6(q: Array, k: Array, v: Array, *, log_decay: Array, bonus: Array, scale: float | None = None,
          initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns what queries read from a state that decays per channel, before their own token is written into it; compiled.

    Formula: out_t = scale (S_{t-1} + diag(bonus) k_t v_t^T)^T q_t, then S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T,
    chunk by chunk.

    Shapes, options and errors are those of `tinyattn.definitions.rwkv6`.

    Paper: Peng et al. 2024, arXiv:2404.05892.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> rwkv6(k, k, v, log_decay=np.log([[0.5], [0.5]]), bonus=np.array([2.0]))
    array([[2.],
           [7.]])
    """
    log_decay, bonus = check_channel_decay(log_decay, k), check_gate("bonus", bonus, (k.shape[-3], k.shape[-1]), k.dtype)
    initial = check_state(initial_state, k, v)
    first_position(q, k)
    # Where all channels have one decay, each is given it.
    out, state = states_before(q, k, v, np.broadcast_to(log_decay, k.shape), bonus, initial, check_scale(scale))
    return (out, state) if return_state else out
