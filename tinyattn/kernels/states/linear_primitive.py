"""Linear attention on plain arrays, feature maps and normaliser inside the kernels, as one primitive of the engine."""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.states.backward import backward
from tinyattn.kernels.states.features import COSINE, ELU, NONE, TAYLOR, elu_plus_one
from tinyattn.kernels.states.forward import forward
from tinyattn.kernels.states.primitive import FEW, by_step, flat, next_state, sizes_of, work
from tinyattn.kernels.states.replay import replayed
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.storage import Sizes, rounded_up, rows_of
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.activation import relu
from tinyattn.ops.donated import counter_of
from tinyattn.ops.features import taylor_features
from tinyattn.ops.types import Array


class Saved(NamedTuple):
    """What the backward reads; `weights` are the total weights that out was divided by, times the scale."""

    sizes: Sizes
    scale: float
    feature: int
    waves: Array
    arrays: tuple[Array, Array, Array]
    state: Array
    total: Array
    weights: Array


def saved_of(weights: Array, q: Array, k: Array, v: Array, state: Array, total: Array, scale: float, feature: int,
             waves: Array) -> Saved:
    """Returns what the backward reads, from the total weights and the arguments."""
    sizes = featured_sizes(q, k, v, feature)
    return Saved(sizes, scale, feature, waves, (q, k, v), np.asarray(state), np.asarray(total), weights)


@once
@primitive
@replayed(attrgetter("weights"), saved_of)
def linear_states(q: Array, k: Array, v: Array, state: Array, total: Array, scale: float, feature: int,
                  waves: Array) -> tuple[tuple[Array, Array, Array], Saved]:
    """Returns ((out, last state, last total), what the backward reads) of plain arrays (..., heads, length, dim), causal.

    S_t = S_{t-1} + f(k_t) v_t^T, n_t = n_{t-1} + f(k_t), out_t = scale S_t^T f(q_t) / (scale n_t . f(q_t)), f being the map that
    `feature` names; for COSINE, `waves` (2, kv_len) are the cosines and sines of the keys' positions, else (0,).
    state (..., kv_heads, d, e), total (..., kv_heads, d), over which a few tokens write if they are donated; with a
    total of shape (0,) nothing is divided.
    """
    sizes, nothing = featured_sizes(q, k, v, feature), np.zeros(0, q.dtype)
    counter = counter_of(state) if sizes.kv_len <= FEW and (total.ndim == 1 or counter_of(total) is not None) else None
    out = pages.empty((*q.shape[:-1], sizes.value_dim), q.dtype)
    weights = pages.empty(q.shape[:-1] if total.ndim > 1 else 0, q.dtype)
    state, total = np.asarray(state), np.asarray(total)  # Numba takes microseconds to tell the type of a subclass
    last, last_total = next_state(state, counter), next_state(total, counter)
    if sizes.kv_len > FEW:
        with np.errstate(under="ignore"):
            run(forward, sizes.batch * sizes.kv_heads, work(sizes), sizes, scale, feature, flat(waves), *rows_of(q), *rows_of(k),
                *rows_of(v), np.zeros(0), None, None, None, flat(state), summed(total), out.reshape(-1), last.reshape(-1),
                last_total.reshape(-1), weights.reshape(-1), nothing)
    # What is not finite reaches the other rows of its micro tile, as 0 times it is NaN. It stays in the state.
    if sizes.kv_len <= FEW or not (np.isfinite(last).all() and np.isfinite(last_total).all()):
        by_step(counter, sizes, scale, feature, flat(waves), q, k, v, nothing, 0, nothing, state, total, out, last, last_total,
                weights, nothing)
    return (out, last, last_total), Saved(sizes, scale, feature, waves, (q, k, v), state, total, weights)


def summed(total: Array) -> Array | None:
    """Returns the sum of keys as one axis, or None where nothing is divided: the kernels then compile none of that."""
    return None if total.ndim == 1 else flat(total)


def featured_sizes(q: Array, k: Array, v: Array, feature: int) -> Sizes:
    """Returns the sizes of a call whose head_dim is the number of features."""
    sizes = sizes_of(q, k, v)
    if feature != COSINE:
        return sizes
    return sizes._replace(head_dim=2 * sizes.head_dim, head_width=rounded_up(2 * sizes.head_dim, sizes.micro_columns))


def features_of(x: Array, feature: int, waves: Array) -> Array:
    """Returns the features of a whole array, whose last row stands at the last of the waves."""
    if feature == COSINE:
        positive = relu(x)
        return np.concatenate([positive * wave[len(wave) - x.shape[-2] :, None] for wave in waves], axis=-1)
    if feature == TAYLOR:
        return taylor_features(x)
    return x if feature == NONE else elu_plus_one(x) if feature == ELU else relu(x)


@linear_states.backward_giving
def _(d_outs: tuple[Array, Array, Array], saved: Saved) -> dict[str, Array | None]:
    sizes, (q, k, v), state, total = saved.sizes, saved.arrays, saved.state, saved.total
    d_q, d_k, d_v, d_state, d_total = (pages.empty(x.shape, state.dtype) for x in (q, k, v, state, total))
    nothing, filled = np.zeros(0, state.dtype), [x.reshape(-1) for x in (d_q, d_k, d_v)]
    with np.errstate(under="ignore"):
        run(backward, sizes.batch * sizes.kv_heads, 3 * work(sizes), sizes, saved.scale, saved.feature, flat(saved.waves), *rows_of(q),
            *rows_of(k), *rows_of(v), *rows_of(v), np.zeros(0), None, None, None, flat(state), summed(total),
            flat(saved.weights), *map(flat, d_outs), *filled, nothing, None, nothing, d_state.reshape(-1),
            d_total.reshape(-1))
    return {"q": d_q, "k": d_k, "v": d_v, "state": d_state, "total": d_total}
