"""RWKV-6 over the kernel of states: gated linear attention that each query reads one token earlier, and a bonus."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.linear.own import with_own
from tinyattn.kernels.linear.parts import by_parts
from tinyattn.kernels.states.primitive import states
from tinyattn.ops.gates import check_channel_decay, check_gate
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)"}, states=("bonus", "initial_state"), waiting=None)
def rwkv6(q: Array, k: Array, v: Array, *, log_decay: Array, bonus: Array, scale: float | None = None,
          initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns what queries read from a state that decays per channel, before their own token is written into it; compiled.

    Formula: out_t = scale (S_{t-1} + diag(bonus) k_t v_t^T)^T q_t, then S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T. The kernel
    is given the queries one token earlier: it reads a state after its token is written.

    Shapes, options and errors are those of `tinyattn.definitions.rwkv6`.

    Paper: Peng et al. 2024, arXiv:2404.05892.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> rwkv6(k, k, v, log_decay=np.log([[0.5], [0.5]]), bonus=np.array([2.0]))
    array([[2.],
           [7.]])
    """
    log_decay, bonus = check_channel_decay(log_decay, k), check_gate("bonus", bonus, (k.shape[-3], k.shape[-1]), k.dtype)
    first_position(q, k)
    factor = check_scale(scale)
    if log_decay.shape[-1] == 1 < k.shape[-1]:
        log_decay = log_decay[..., 0]  # one decay for all channels

    def form(_start: int, q: Array, k: Array, v: Array, log_decay: Array, _: None, _none: None, state: Array, _no: None,
             bonus: Array) -> Any:
        return read_before(q, k, v, log_decay, bonus, state, factor)

    out, state = by_parts(form, (q, k, v, log_decay), (check_state(initial_state, k, v),), bonus)
    return (out, state) if return_state else out


def read_before(q: Array, k: Array, v: Array, log_decay: Array, bonus: Array, initial: Array, factor: float) -> tuple[Array, Array]:
    """Returns what queries read before their own token is written, and by the bonus of that token, and the last state."""
    first = k.shape[-2] - q.shape[-2]
    unread = np.zeros((*q.shape[:-2], min(1, k.shape[-2]), q.shape[-1]), q.dtype)
    read, state = states(np.concatenate((q if first else q[..., 1:, :], unread), axis=-2), k, v, log_decay, None, initial, factor)
    before = q[..., :0, :] if first else q[..., :1, :] * factor
    before = unfold_group(fold_group(before, k.shape[-3]) @ initial, q.shape[-3])
    return with_own(read, before, q, k[..., first:, :], v[..., first:, :], factor * bonus), state
