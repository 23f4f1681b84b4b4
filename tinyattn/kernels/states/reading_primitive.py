"""A state of which each token reads, on plain arrays: forward and backward joined into one primitive of the engine."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.states.primitive import FEW, far_of, flat, sizes_of, work
from tinyattn.kernels.states.reading import reading
from tinyattn.kernels.states.reading_backward import reading_backward
from tinyattn.kernels.states.reading_step import reading_step
from tinyattn.kernels.states.replay import replayed
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.storage import rows_of
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.types import Array


class Saved(NamedTuple):
    """What the backward reads: what was given, and what was added along k where that is what is written along, else what was read."""

    arrays: tuple[Array, Array, Array, Array]
    read: Array | None
    write: Array | None
    beta: Array | None
    state: Array
    scale: float
    written: Array


def saved_of(written: Array, q: Array, k: Array, v: Array, log_decay: Array, read: Array | None, write: Array | None,
             beta: Array | None, state: Array, scale: float) -> Saved:
    """Returns what the backward reads, from what was read or added and from the arguments."""
    return Saved((q, k, v, log_decay), read, write, beta, state, scale, written)


@once
@primitive
@replayed(attrgetter("written"), saved_of)
def reading_states(q: Array, k: Array, v: Array, log_decay: Array, read: Array | None, write: Array | None, beta: Array | None,
                   state: Array, scale: float) -> tuple[tuple[Array, Array], Saved]:
    """Returns ((out, last state), what the backward reads) of plain arrays (..., heads, length, dim), causal.

    S_t = diag(exp(log_decay_t)) S_{t-1} + write_t (read_t^T S_{t-1}) + k_t v_t^T, out_t = scale S_t^T q_t. log_decay, read and write
    are as k; where write is None it is k. With a beta (..., kv_heads, j) it is the delta rule: read is -beta exp(log_decay) k, write
    is k, and v is times beta; both must be None. With a read and a beta as k, -read is read along, and beta read is written along.
    """
    sizes, nothing = sizes_of(q, k, v), np.zeros(0, q.dtype)
    out, last, written = (pages.empty(shape, q.dtype) for shape in ((*q.shape[:-1], sizes.value_dim), state.shape, v.shape))
    results, tasks, amount = [x.reshape(-1) for x in (out, last, written)], sizes.batch * sizes.kv_heads, 2 * work(sizes)
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        if sizes.kv_len > FEW:
            run(reading, tasks, amount, sizes, scale, *rows_of(q), *rows_of(k), *rows_of(v), flat(log_decay),
                far_of(log_decay, sizes), *lines(read, write, beta), flat(state), *results)
        # What is not finite reaches the other rows of its micro tile, as 0 times it is NaN. It stays in the state.
        if sizes.kv_len <= FEW or not np.isfinite(last).all():
            along, own = vectors_of(k, log_decay, read, write, beta)
            told = v if read is not None or beta is None else beta[..., None] * v
            run(reading_step, tasks, amount // 8, tuple(sizes), scale, flat(q), flat(k), flat(told), flat(np.exp(log_decay)),
                flat(along), nothing if own is None else flat(own), flat(state), *results)
    return (out, last), saved_of(written, q, k, v, log_decay, read, write, beta, state, scale)


def lines(*arrays: Array | None) -> list[Array | None]:
    """Returns each array as one contiguous axis, and None for what is None: the kernels then compile none of that."""
    return [None if x is None else flat(x) for x in arrays]


def vectors_of(k: Array, log_decay: Array, read: Array | None, write: Array | None, beta: Any) -> tuple[Array, Array | None]:
    """Returns the vectors that are read along and those that are written along, None where they are k."""
    if read is None:
        return -beta[..., None] * np.exp(log_decay) * k, None
    return (read, write) if beta is None else (-read, beta * read)


@reading_states.backward_giving
def _(d_outs: tuple[Array, Array], saved: Saved) -> dict[str, Array | None]:
    (q, k, v, log_decay), sizes = saved.arrays, sizes_of(*saved.arrays[:3])
    given = {"q": q, "k": k, "v": v, "log_decay": log_decay, "read": saved.read, "write": saved.write, "beta": saved.beta,
             "state": saved.state}
    gradients = {name: None if x is None else pages.empty(x.shape, q.dtype) for name, x in given.items()}
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        run(reading_backward, sizes.batch * sizes.kv_heads, 6 * work(sizes), sizes, saved.scale, *rows_of(q), *rows_of(k), *rows_of(v),
            flat(log_decay), far_of(log_decay, sizes), *lines(saved.read, saved.write, saved.beta), flat(saved.written),
            flat(saved.state), *map(flat, d_outs),
            *[None if x is None else x.reshape(-1) for x in gradients.values()])
    return gradients
