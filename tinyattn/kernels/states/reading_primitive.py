"""A state of which each token reads, on plain arrays: forward and backward joined into one primitive of the engine.

The backward is made of two kernels. Backwards in time, the gradient of the state is itself such a state: what it reads along the
write vectors, and writes along the read vectors, is the gradient of what the tokens read. With that known, the state is only added
to, and all other gradients are those of a state whose channels fade by themselves.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.states.channel_backward import channel_backward
from tinyattn.kernels.states.primitive import FEW, flat, sizes_of, work
from tinyattn.kernels.states.reading import reading
from tinyattn.kernels.states.reading_step import reading_step
from tinyattn.kernels.states.replay import replayed
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.storage import rows_of
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.gates import behind
from tinyattn.ops.heads import split_group
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
    along, own = vectors_of(k, log_decay, read, write, beta)
    told = v if read is not None or beta is None else beta[..., None] * v
    out, last, written = folded(q, k, told, log_decay, along, own, state, scale)
    return (out, last), saved_of(written, q, k, v, log_decay, read, write, beta, state, scale)


def vectors_of(k: Array, log_decay: Array, read: Array | None, write: Array | None, beta: Any) -> tuple[Array, Array | None]:
    """Returns the vectors that are read along and those that are written along, None where they are k."""
    if read is None:
        made = np.exp(log_decay)
        made *= k
        made *= -beta[..., None]
        return made, None
    return (read, write) if beta is None else (-read, beta * read)


def folded(q: Array, k: Array, v: Array, log_decay: Array, read: Array, write: Array | None, state: Array,
           scale: float) -> tuple[Array, Array, Array]:
    """Returns the output, the last state, and what was read or added."""
    sizes = sizes_of(q, k, v)
    out, last, written = (np.empty(shape, q.dtype) for shape in ((*q.shape[:-1], sizes.value_dim), state.shape, v.shape))
    rest = (flat(read), np.zeros(0, q.dtype) if write is None else flat(write), flat(state), out.reshape(-1), last.reshape(-1),
            written.reshape(-1))
    tasks, amount = sizes.batch * sizes.kv_heads, 2 * work(sizes)
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        if sizes.kv_len > FEW:
            run(reading, tasks, amount, sizes, scale, *rows_of(q), *rows_of(k), *rows_of(v), flat(log_decay), *rest)
        # What is not finite reaches the other rows of its micro tile, as 0 times it is NaN. It stays in the state.
        if sizes.kv_len <= FEW or not np.isfinite(last).all():
            run(reading_step, tasks, amount // 8, tuple(sizes), scale, flat(q), flat(k), flat(v), flat(np.exp(log_decay)), *rest)
    return out, last, written


@reading_states.backward_giving
def _(d_outs: tuple[Array, Array], saved: Saved) -> dict[str, Array | None]:
    return slopes_of(saved.scale, *saved.arrays, saved.read, saved.write, saved.beta, saved.state, saved.written, *d_outs)


def slopes_of(scale: float, q: Array, k: Array, v: Array, log_decay: Array, read: Array | None, write: Array | None, beta: Any,
              state: Array, written: Array, d_out: Array, d_last: Array) -> dict[str, Array | None]:
    """Returns the gradients of what `reading_states` was given. What is no longer read is let go: there is little beside it."""
    along, apart = vectors_of(k, log_decay, read, write, beta)
    own, first = k if apart is None else apart, k.shape[-2] - q.shape[-2]
    queries, d_queries = (split_group(behind(x, first), k.shape[-3]) for x in (scaled(q, scale), d_out))
    d_first, d_later = gradient_of_written(queries, d_queries, d_last, log_decay, along, own)
    asked, d_asked = beside(queries, along[..., 1:, :]), beside(d_queries, d_later)
    del queries, d_queries, d_later
    start = state if apart is None else np.zeros_like(state)
    d_q, d_own, d_x, d_log_decay, d_state = added_gradients(asked, own, written, log_decay, start, d_asked, d_last)
    d_k, d_v = d_own, d_x
    if apart is not None:
        del d_x
        more, d_k, d_v, slopes, d_state = added_gradients(asked, k, v, log_decay, state, d_asked, d_last)
        d_q += more
        d_log_decay += slopes
        del more, slopes
    del asked, d_asked
    # The first token reads the state at first.
    d_read = np.concatenate((np.sum(state * d_first, axis=-1)[..., None, :], d_q[..., -1, :-1, :]), axis=-2)
    d_state += along[..., 0, :, None] * d_first
    d_q = scaled(d_q[..., :-1, first:, :].reshape(q.shape), scale)
    gradients: dict[str, Array | None] = {"q": d_q, "k": d_k, "v": d_v, "log_decay": d_log_decay, "state": d_state}
    if read is None:
        strength, slopes = beta[..., None], np.exp(log_decay)
        slopes *= d_read
        gradients["beta"] = np.sum(d_v * v, axis=-1) - np.sum(slopes * k, axis=-1)
        slopes *= strength
        d_k -= slopes
        d_v *= strength
        d_read *= along
        d_log_decay += d_read
        return gradients
    if beta is None:
        return gradients | {"read": d_read} | ({} if write is None else {"write": d_own})
    return gradients | {"read": beta * d_own - d_read, "beta": read * d_own}


def scaled(x: Array, scale: float) -> Array:
    """Returns scale times x, without a copy where the scale is 1."""
    return x if scale == 1 else scale * x


def beside(queries: Array, later: Array) -> Array:
    """Returns queries (..., kv_heads, groups, j, d) with one more of each group: what the next token reads, which the last has not."""
    *lead, groups, length, width = queries.shape
    both = np.empty((*lead, groups + 1, length, width), queries.dtype)
    both[..., :-1, :, :] = queries
    both[..., -1, :-1, :] = later
    both[..., -1, -1:, :] = 0
    return both


def gradient_of_written(queries: Array, d_queries: Array, d_last: Array, log_decay: Array, read: Array,
                        write: Array) -> tuple[Array, Array]:
    """Returns the gradient of what is written along `write`, of the first token and of the later ones.

    It is from the recurrence of the state's gradient, last token first:
    dS_{t-1} = diag(exp(log_decay_t)) dS_t + read_t (dS_t^T write_t)^T + q_{t-1} d_out_{t-1}^T. The queries of a group each have a
    recurrence of their own, as it is linear in them; the first also starts from the gradient of the last state.
    """
    def turned(x: Array) -> Array:
        back = np.concatenate((np.zeros_like(x[..., :1, :]), x[..., :0:-1, :]), axis=-2)[..., None, :, :]
        return back if queries.shape[-3] == 1 else np.broadcast_to(back, (*queries.shape[:-2], *back.shape[-2:]))

    starts = np.zeros((*queries.shape[:-2], *d_last.shape[-2:]), d_last.dtype)
    starts[..., :1, :, :] = d_last[..., None, :, :]
    keys, values = queries[..., ::-1, :], d_queries[..., ::-1, :]
    _, last, found = folded(keys[..., :0, :], keys, values, turned(log_decay), turned(write), turned(read), starts, 1.0)
    later = found[..., :0:-1, :]
    first = np.sum(write[..., 0, :, None] * last.sum(axis=-3), axis=-2)[..., None, :]
    return first, later[..., 0, :, :] if later.shape[-3] == 1 else later.sum(axis=-3)


def added_gradients(q: Array, k: Array, v: Array, log_decay: Array, state: Array, d_out: Array,
                    d_last: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Returns the gradients of the first five arguments where the state is only added to; q (..., kv_heads, groups, j, d)."""
    merged = q.reshape(*q.shape[:-4], q.shape[-4] * q.shape[-3], *q.shape[-2:])
    sizes = sizes_of(merged, k, v)
    results: Any = tuple(np.empty(x.shape, x.dtype) for x in (q, k, v, log_decay, state))
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        run(channel_backward, sizes.batch * sizes.kv_heads, 3 * work(sizes), sizes, 1.0, *rows_of(merged), *rows_of(k), *rows_of(v),
            flat(log_decay), flat(state), flat(d_out), flat(d_last), *(x.reshape(-1) for x in results))
    filled: tuple[Array, Array, Array, Array, Array] = results
    return filled
