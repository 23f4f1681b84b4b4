"""A matrix memory with exponential gates and a normaliser, on plain arrays: forward and backward as one primitive of the engine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.states.backward import backward
from tinyattn.kernels.states.exponential import Relative, relative, through_maxima
from tinyattn.kernels.states.features import NONE
from tinyattn.kernels.states.forward import forward
from tinyattn.kernels.states.primitive import FEW, by_step, flat, sizes_of, work
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.storage import rows_of
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import with_ones
from tinyattn.ops.types import Array

Outs = tuple[Array, Array, Array, Array]


class Saved(NamedTuple):
    """What the backward reads: what was given, the last state and total, and `weights`: the total weights times the scale."""

    arrays: tuple[Array, Array, Array, Array, Array]
    memory: tuple[Array, Array, Array]
    scale: float
    last: tuple[Array, Array]
    weights: Array


@once
@primitive
def memory_states(q: Array, k: Array, v: Array, wrote: Array, kept: Array, state: Array, total: Array, maximum: Array,
                  scale: float) -> tuple[Outs, Saved]:
    """Returns ((out, the last state, total and maximum), what the backward reads) of plain arrays (..., heads, length, dim), causal.

    m_t = max(kept_t + m_{t-1}, wrote_t), S_t = exp(kept_t + m_{t-1} - m_t) S_{t-1} + exp(wrote_t - m_t) k_t v_t^T, n_t likewise with 1
    in place of v_t, out_t = scale S_t^T q_t / max(|scale n_t . q_t|, exp(-m_t)). wrote and kept (..., kv_heads, j), state (...,
    kv_heads, d, e), total (..., kv_heads, d), maximum (..., kv_heads).
    """
    sizes = sizes_of(q, k, v)
    shapes = (*q.shape[:-1], sizes.value_dim), q.shape[:-1], state.shape, total.shape
    out, weights, last, last_total = (pages.empty(shape, q.dtype) for shape in shapes)
    with np.errstate(under="ignore"):
        gates = relative(wrote, kept, maximum)
        if sizes.kv_len > FEW:
            run(forward, sizes.batch * sizes.kv_heads, work(sizes), sizes, scale, None, None, *rows_of(q), *rows_of(k), *rows_of(v),
                flat(gates.decay), flat(gates.gates), flat(gates.bounds), None, flat(state), flat(total),
                *(x.reshape(-1) for x in (out, last, last_total, weights)), np.zeros(0, q.dtype))
        # What is not finite reaches the other rows of its micro tile, as 0 times it is NaN. It stays in the state.
        if sizes.kv_len <= FEW or not (np.isfinite(last).all() and np.isfinite(last_total).all()):
            out, weights, last, last_total = by_token(q, k, v, gates, state, total, scale)
    outs = out, last, last_total, gates.maxima[..., -1].astype(q.dtype)
    return outs, Saved((q, k, v, wrote, kept), (state, total, maximum), scale, (last, last_total), weights)


def by_token(q: Array, k: Array, v: Array, gates: Relative, state: Array, total: Array, scale: float) -> Outs:
    """Returns the output, the total weights, the last state and the last total, token by token: the total is one more column."""
    values, nothing, both = with_ones(v), np.zeros(0, q.dtype), np.concatenate((state, total[..., None]), axis=-1)
    sums, last = np.empty((*q.shape[:-1], values.shape[-1]), q.dtype), np.empty(both.shape, q.dtype)
    by_step(None, sizes_of(q, k, values), scale, NONE, nothing, q, k * gates.gates[..., None], values, gates.decay.astype(q.dtype), 0,
            nothing, both, nothing, sums, last, nothing, nothing, nothing)
    weights, bounds = sums[..., -1], gates.bounds[..., k.shape[-2] - q.shape[-2] :]
    divisors = np.maximum(np.abs(split_group(sums, k.shape[-3])[..., -1]), bounds[..., None, :]).reshape(weights.shape)
    return (sums[..., :-1] / divisors[..., None]).astype(q.dtype), weights, last[..., :-1], last[..., -1]


@memory_states.backward_giving
def _(d_outs: Outs, saved: Saved) -> dict[str, Array]:
    (q, k, v, wrote, kept), (state, total, maximum), (last, last_total) = saved.arrays, saved.memory, saved.last
    d_out, d_last, d_last_total, d_maximum = d_outs
    sizes, nothing = sizes_of(q, k, v), np.zeros(0, q.dtype)
    d_q, d_k, d_v, d_wrote, d_kept, d_state, d_total = (pages.empty(x.shape, q.dtype) for x in (q, k, v, wrote, kept, state, total))
    filled = [x.reshape(-1) for x in (d_q, d_k, d_v, d_kept, d_wrote)]
    with np.errstate(under="ignore"):
        gates = relative(wrote, kept, maximum)
        run(backward, sizes.batch * sizes.kv_heads, 3 * work(sizes), sizes, saved.scale, None, None, *rows_of(q), *rows_of(k),
            *rows_of(v), *rows_of(v), flat(gates.decay), flat(gates.gates), flat(gates.bounds), None, flat(state), flat(total),
            flat(saved.weights), flat(d_out), flat(d_last), flat(d_last_total), *filled, nothing, d_state.reshape(-1),
            d_total.reshape(-1))
        # The output is the same whatever the state is relative to; the last state is not.
        d_maximum = d_maximum - np.where(gates.maxima[..., -1] == -np.inf, 0, product(last, d_last, last_total, d_last_total))
        d_first = through_maxima(d_wrote, d_kept, d_maximum, wrote, kept, gates.maxima)
        d_first = d_first + product(state, d_state, total, d_total)
    return {"q": d_q, "k": d_k, "v": d_v, "wrote": d_wrote, "kept": d_kept, "state": d_state, "total": d_total,
            "maximum": d_first.astype(q.dtype)}


def product(state: Array, d_state: Array, total: Array, d_total: Array) -> Array:
    """Returns the inner product of a state and its total with their gradients, of each head."""
    return np.asarray(np.sum(state * d_state, axis=(-2, -1)) + np.sum(total * d_total, axis=-1))
