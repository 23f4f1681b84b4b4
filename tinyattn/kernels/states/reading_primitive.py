"""A state of which each token reads, on plain arrays: forward and backward joined into one primitive of the engine.

The backward is made of two kernels. Backwards in time, the gradient of the state is itself such a state: what it reads along the
write vectors, and writes along the read vectors, is the gradient of what the tokens read. With that known, the state is only added
to, and all other gradients are those of a state whose channels fade by themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.states.channel_backward import channel_backward
from tinyattn.kernels.states.primitive import FEW, flat, sizes_of, work
from tinyattn.kernels.states.reading import reading
from tinyattn.kernels.states.reading_step import reading_step
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.storage import rows_of
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.gates import behind
from tinyattn.ops.heads import split_group
from tinyattn.ops.types import Array


class Saved(NamedTuple):
    """What the backward reads; write is None where it is k, and `written` is what was then added along k, else what was read."""

    arrays: tuple[Array, Array, Array, Array, Array]
    write: Array | None
    state: Array
    scale: float
    written: Array


@once
@primitive
def reading_states(q: Array, k: Array, v: Array, log_decay: Array, read: Array, write: Array | None, state: Array,
                   scale: float) -> tuple[tuple[Array, Array], Saved]:
    """Returns ((out, last state), what the backward reads) of plain arrays (..., heads, length, dim), causal.

    S_t = diag(exp(log_decay_t)) S_{t-1} + write_t (read_t^T S_{t-1}) + k_t v_t^T, out_t = scale S_t^T q_t. log_decay, read and write
    are as k; where write is None it is k.
    """
    out, last, written = folded(q, k, v, log_decay, read, write, state, scale)
    return (out, last), Saved((q, k, v, log_decay, read), write, state, scale, written)


def folded(q: Array, k: Array, v: Array, log_decay: Array, read: Array, write: Array | None, state: Array,
           scale: float) -> tuple[Array, Array, Array]:
    """Returns the output, the last state, and what was read or added."""
    sizes = sizes_of(q, k, v)
    out, last, written = np.empty((*q.shape[:-1], sizes.value_dim), q.dtype), np.empty(state.shape, q.dtype), np.empty(v.shape, q.dtype)
    given = (sizes, scale, *rows_of(q), *rows_of(k), *rows_of(v))
    rest = (flat(read), np.zeros(0, q.dtype) if write is None else flat(write), flat(state), out.reshape(-1), last.reshape(-1),
            written.reshape(-1))
    tasks, amount = sizes.batch * sizes.kv_heads, 2 * work(sizes)
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        if sizes.kv_len > FEW:
            run(reading, tasks, amount, *given, flat(log_decay), *rest)
        # What is not finite reaches the other rows of its micro tile, as 0 times it is NaN. It stays in the state.
        if sizes.kv_len <= FEW or not np.isfinite(last).all():
            run(reading_step, tasks, amount // 8, *given, flat(np.exp(log_decay)), *rest)
    return out, last, written


@reading_states.backward
def _(d_outs: tuple[Array, Array], saved: Saved) -> dict[str, Array | None]:
    (q, k, v, log_decay, read), write, written = saved.arrays, saved.write, saved.written
    first, kv_heads = k.shape[-2] - q.shape[-2], k.shape[-3]
    queries, d_queries = (split_group(behind(x, first), kv_heads) for x in (saved.scale * q, d_outs[0]))
    own = k if write is None else write
    d_written = gradient_of_written(queries, d_queries, d_outs[1], log_decay, read, own)
    # One token more, the first: a token reads what the queries of the token before read.
    asked = np.concatenate((behind(queries, 1), beside(read)), axis=-3)
    d_asked = np.concatenate((behind(d_queries, 1), beside(d_written)), axis=-3)
    sources = [(k, written if write is None else v, saved.state)]
    if write is not None:
        sources.append((write, written, np.zeros_like(saved.state)))
    d_q, d_k, d_v, d_log_decay, d_state = added_gradients(asked, d_asked, d_outs[1], log_decay, sources)
    d_queries = saved.scale * d_q[..., :-1, 1 + first :, :]
    gradients = {"q": d_queries.reshape(q.shape), "k": d_k[0], "v": d_v[0], "log_decay": d_log_decay,
                 "read": d_q[..., -1, :-1, :], "state": d_state}
    return gradients if write is None else {**gradients, "write": d_k[1]}


def beside(x: Array) -> Array:
    """Returns (..., kv_heads, j, d) as the last query of each group, with a token of zeros at the end."""
    return ended(x)[..., None, :, :]


def ended(x: Array) -> Array:
    """Returns x (..., j, d) with a token of zeros at the end."""
    return np.concatenate((x, np.zeros((*x.shape[:-2], 1, x.shape[-1]), x.dtype)), axis=-2)


def gradient_of_written(queries: Array, d_queries: Array, d_last: Array, log_decay: Array, read: Array, write: Array) -> Array:
    """Returns the gradient of what is written along `write`, from the recurrence of the state's gradient, last token first.

    dS_{t-1} = diag(exp(log_decay_t)) dS_t + read_t (dS_t^T write_t)^T + q_{t-1} d_out_{t-1}^T. The queries of a group each have a
    recurrence of their own, as it is linear in them; the first also starts from the gradient of the last state.
    """
    def turned(x: Array) -> Array:
        back = behind(x[..., None, ::-1, :], 1)
        return np.broadcast_to(back, (*queries.shape[:-2], *back.shape[-2:]))

    starts = np.concatenate((d_last[..., None, :, :], np.zeros((*queries.shape[:-3], queries.shape[-3] - 1, *d_last.shape[-2:]),
                                                               d_last.dtype)), axis=-3)
    keys, values = ended(queries[..., ::-1, :]), ended(d_queries[..., ::-1, :])
    _, _, found = folded(keys[..., :0, :], keys, values, turned(log_decay), turned(write), turned(read), starts, 1.0)
    total: Array = found[..., :0:-1, :].sum(axis=-3)
    return total


def added_gradients(asked: Array, d_asked: Array, d_last: Array, log_decay: Array,
                    sources: list[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array, Array, Array]:
    """Returns the gradients of the queries, of each source's keys and values, of the decays and of the state at first.

    The state is a sum of one state per source (keys, values, state at first), each only added to.
    """
    keys, values, states = (np.stack([behind(x[at], 1) if at < 2 else x[at] for x in sources]) for at in range(3))
    merged = (*asked.shape[:-4], asked.shape[-4] * asked.shape[-3])
    q, d_out = (np.broadcast_to(x.reshape(*merged, *x.shape[-2:]), (len(sources), *merged, *x.shape[-2:])) for x in (asked, d_asked))
    decay = np.broadcast_to(behind(log_decay, 1), keys.shape)
    d_states = np.broadcast_to(d_last, states.shape)
    sizes = sizes_of(q, keys, values)
    d_q, d_k, d_v, d_log_decay, d_state = (np.empty(x.shape, x.dtype) for x in (q, keys, values, decay, states))
    filled = [x.reshape(-1) for x in (d_q, d_k, d_v, d_log_decay, d_state)]
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        run(channel_backward, sizes.batch * sizes.kv_heads, 3 * work(sizes), sizes, 1.0, *rows_of(q), *rows_of(keys), *rows_of(values),
            flat(decay), flat(states), flat(d_out), flat(d_states), *filled)
    return (d_q.sum(axis=0).reshape(asked.shape), d_k[..., 1:, :], d_v[..., 1:, :], d_log_decay.sum(axis=0)[..., 1:, :], d_state[0])
