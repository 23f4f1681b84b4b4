"""A state that each query reads before its token is written, on plain arrays: forward and backward as one primitive of the engine."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.states.before_step import before_step
from tinyattn.kernels.states.channel_backward import channel_backward
from tinyattn.kernels.states.channel_forward import channel_forward
from tinyattn.kernels.states.primitive import FEW, far_of, flat, sizes_of, work
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.storage import rows_of
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.types import Array


class Saved(NamedTuple):
    """What the backward reads: all that was given."""

    arrays: tuple[Array, Array, Array]
    log_decay: Array
    bonus: Array
    state: Array
    scale: float


@once
@primitive
def states_before(q: Array, k: Array, v: Array, log_decay: Array, bonus: Array, state: Array,
                  scale: float) -> tuple[tuple[Array, Array], Saved]:
    """Returns ((out, last state), what the backward reads) of plain arrays (..., heads, length, dim), causal.

    out_t = scale (S_{t-1} + diag(bonus) k_t v_t^T)^T q_t, S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T; log_decay as k, bonus
    (kv_heads, d), state (..., kv_heads, d, e).
    """
    sizes = sizes_of(q, k, v)
    out, last = pages.empty((*q.shape[:-1], sizes.value_dim), q.dtype), pages.empty(state.shape, q.dtype)
    tasks, results = sizes.batch * sizes.kv_heads, (out.reshape(-1), last.reshape(-1))
    with np.errstate(under="ignore"):
        if sizes.kv_len > FEW:
            run(channel_forward, tasks, work(sizes), sizes, scale, *rows_of(q), *rows_of(k), *rows_of(v), flat(log_decay),
                far_of(log_decay, sizes), flat(bonus), flat(state), *results)
        # What is not finite reaches the other rows of its micro tile, as 0 times it is NaN. It stays in the state.
        if sizes.kv_len <= FEW or not np.isfinite(last).all():
            run(before_step, tasks, work(sizes) // 8, tuple(sizes), scale, flat(q), flat(k), flat(v), flat(np.exp(log_decay)),
                flat(bonus), flat(state), *results)
    return (out, last), Saved((q, k, v), log_decay, bonus, state, scale)


@states_before.backward_giving
def _(d_outs: tuple[Array, Array], saved: Saved) -> dict[str, Any]:
    (q, k, v), bonus = saved.arrays, saved.bonus
    sizes = sizes_of(q, k, v)
    d_q, d_k, d_v, d_log_decay, d_state = (pages.empty(x.shape, q.dtype) for x in (q, k, v, saved.log_decay, saved.state))
    d_bonus = np.empty((sizes.batch, *bonus.shape), q.dtype)
    with np.errstate(under="ignore"):
        run(channel_backward, sizes.batch * sizes.kv_heads, 3 * work(sizes), sizes, saved.scale, *rows_of(q), *rows_of(k), *rows_of(v),
            flat(saved.log_decay), far_of(saved.log_decay, sizes), flat(bonus), flat(saved.state), *map(flat, d_outs),
            *(x.reshape(-1) for x in (d_q, d_k, d_v, d_log_decay, d_bonus, d_state)))
    return {"q": d_q, "k": d_k, "v": d_v, "log_decay": d_log_decay, "bonus": d_bonus.sum(axis=0), "state": d_state}
