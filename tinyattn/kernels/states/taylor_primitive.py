"""Linear attention with the features of `taylor` on plain arrays, forward and backward, as one primitive of the engine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.states.features import NONE
from tinyattn.kernels.states.primitive import FEW, by_step, flat, next_state
from tinyattn.kernels.states.taylor_backward import taylor_backward
from tinyattn.kernels.states.taylor_forward import taylor_forward
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.storage import Sizes, rows_of, sizes_of
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.donated import counter_of
from tinyattn.ops.features import taylor_features
from tinyattn.ops.types import Array


class Saved(NamedTuple):
    """What the backward reads; `weights` are the total weights that out was divided by, times the scale."""

    sizes: Sizes
    scale: float
    causal: bool
    arrays: tuple[Array, Array, Array]
    state: Array
    total: Array
    out: Array
    weights: Array


def work(sizes: Sizes) -> int:
    """Returns the multiply-adds of a forward."""
    tokens = sizes.heads * sizes.q_len + sizes.kv_heads * sizes.kv_len
    return sizes.batch * tokens * sizes.value_dim * sizes.head_dim * (sizes.head_dim + 3) // 2


@once
@primitive
def taylor_states(q: Array, k: Array, v: Array, state: Array, total: Array, scale: float,
                  causal: bool) -> tuple[tuple[Array, Array, Array], Saved]:
    """Returns what `linear_states` does, ((out, last state, last total), what the backward reads), for `taylor_features`.

    state (..., kv_heads, 1 + d + d^2, e). If not `causal` every query reads what all keys have written.
    """
    sizes = sizes_of(q, k, v)
    few = causal and sizes.kv_len <= FEW
    counter = counter_of(state) if few and (total.ndim == 1 or counter_of(total) is not None) else None
    out = pages.empty((*q.shape[:-1], sizes.value_dim), q.dtype)
    weights = pages.empty(q.shape[:-1] if total.ndim > 1 else 0, q.dtype)
    state, total = np.asarray(state), np.asarray(total)  # Numba takes microseconds to tell the type of a subclass
    last, last_total = next_state(state, counter), next_state(total, counter)
    with np.errstate(all="ignore"):
        if not few:
            run(taylor_forward, sizes.batch * sizes.kv_heads, work(sizes), sizes, scale, causal, *rows_of(q), *rows_of(k), *rows_of(v),
                flat(state), flat(total), out.reshape(-1), last.reshape(-1), last_total.reshape(-1), weights.reshape(-1))
        # What is not finite reaches the other rows of its micro tile, as 0 times it is NaN. It stays in the state.
        if few or (causal and not (np.isfinite(last).all() and np.isfinite(last_total).all())):
            asks, keys, nothing = taylor_features(q), taylor_features(k), np.zeros(0, q.dtype)
            by_step(counter, sizes_of(asks, keys, v), scale, NONE, nothing, asks, keys, v, nothing, 0, nothing, state, total, out,
                    last, last_total, weights, nothing)
    return (out, last, last_total), Saved(sizes, scale, causal, (q, k, v), state, total, out, weights)


@taylor_states.backward_giving
def _(d_outs: tuple[Array, Array, Array], saved: Saved) -> dict[str, Array | None]:
    sizes, (q, k, v), state, total = saved.sizes, saved.arrays, saved.state, saved.total
    d_q, d_k, d_v, d_state, d_total = (pages.empty(x.shape, state.dtype) for x in (q, k, v, state, total))
    with np.errstate(under="ignore"):
        run(taylor_backward, sizes.batch * sizes.kv_heads, 3 * work(sizes), sizes, saved.scale, saved.causal, *rows_of(q), *rows_of(k),
            *rows_of(v), flat(state), flat(total), flat(saved.out), flat(saved.weights), *map(flat, d_outs),
            *(x.reshape(-1) for x in (d_q, d_k, d_v, d_state, d_total)))
    return {"q": d_q, "k": d_k, "v": d_v, "state": d_state, "total": d_total}
