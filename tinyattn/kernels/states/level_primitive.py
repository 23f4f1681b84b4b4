"""States of levels on plain arrays, forward and backward joined into one primitive of the engine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.states.level_backward import level_backward
from tinyattn.kernels.states.level_forward import level_forward
from tinyattn.kernels.states.level_step import level_step
from tinyattn.kernels.states.primitive import FEW, decays, flat
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.storage import Sizes, rows_of, sizes_of
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.levels import closed_before, levels_of
from tinyattn.ops.types import Array

# Tokens of a chunk: a power of two, whose tokens see each other on the lowest levels.
CHUNK = 64


class Saved(NamedTuple):
    """What the backward reads."""

    arrays: tuple[Array, Array, Array]
    log_decay: Array
    scales: Array
    state: Array
    seen: int
    scale: float


def chunks_of(q: Array, k: Array, v: Array) -> Sizes:
    """Returns the sizes of a call, whose tiles of keys are the chunks."""
    return sizes_of(q, k, v)._replace(kv_tile=CHUNK)


def work(sizes: Sizes, depth: int) -> int:
    """Returns the multiply-adds of a forward: half of the levels above those of a chunk are read."""
    reads = 2 + max(0, depth - levels_of(CHUNK)) // 2
    products = reads * sizes.head_dim * sizes.value_dim + CHUNK * (sizes.head_dim + sizes.value_dim)
    return sizes.batch * sizes.heads * sizes.kv_len * products


def grown_from(seen: int) -> Array:
    """Returns for each row of the first chunk the least level on which it sees the tokens before the chunk's first token."""
    lead = seen % CHUNK
    levels = [closed_before(row) if row > lead else 0 for row in range(CHUNK)]
    return np.maximum.accumulate(np.array(levels, np.int64))


@once
@primitive
def level_states(q: Array, k: Array, v: Array, log_decay: Array, scales: Array, state: Array, seen: int, scale: float,
                 depth: int) -> tuple[tuple[Array, Array], Saved]:
    """Returns ((out, last states), what the backward reads) of plain arrays (..., heads, length, dim) with at least one key.

    out_i = scale sum_l scales_il S_il^T q_i, with log_decay (..., kv_heads, j), scales (..., kv_heads, j, levels) and the states
    (..., kv_heads, levels, d, e) after the first `seen` tokens. The last states have `depth` levels, or none if that is 0.
    """
    sizes, deep = chunks_of(q, k, v), depth_of(k, state, seen)
    out = pages.empty((*q.shape[:-1], sizes.value_dim), q.dtype)
    last = pages.empty((*state.shape[:-3], depth, *state.shape[-2:]), q.dtype)
    tasks, results = sizes.batch * sizes.kv_heads, (out.reshape(-1), last.reshape(-1))
    faults = np.zeros(tasks, np.int64)
    gates = (decays(log_decay), flat(scales), scales.shape[-1], flat(state), state.shape[-3])
    with np.errstate(under="ignore"):
        if sizes.kv_len > FEW:
            run(level_forward, tasks, work(sizes, deep), sizes, scale, seen, deep, grown_from(seen), *rows_of(q), *rows_of(k),
                *rows_of(v), *gates, *results, faults)
        # What is not finite reaches the other rows of its micro tile, as 0 times it is NaN.
        if sizes.kv_len <= FEW or faults.any():
            run(level_step, tasks, work(sizes, deep) // 8, sizes[:7], scale, seen, deep, flat(q), flat(k), flat(v), *gates, *results)
    return (out, last), Saved((q, k, v), log_decay, scales, state, seen, scale)


def depth_of(k: Array, state: Array, seen: int) -> int:
    """Returns how many levels there are after the keys."""
    return max(state.shape[-3], levels_of(seen + k.shape[-2]))


@level_states.backward_giving
def _(d_outs: tuple[Array, Array], saved: Saved) -> dict[str, Array | None]:
    (q, k, v), seen, state = saved.arrays, saved.seen, saved.state
    sizes, deep = chunks_of(q, k, v), depth_of(k, state, seen)
    d_q, d_k, d_v, d_log_decay, d_state = (pages.empty(x.shape, q.dtype) for x in (q, k, v, saved.log_decay, state))
    d_scales = pages.zeros(saved.scales.shape, q.dtype)
    with np.errstate(under="ignore"):
        run(level_backward, sizes.batch * sizes.kv_heads, 3 * work(sizes, deep), sizes, saved.scale, seen, deep, grown_from(seen),
            *rows_of(q), *rows_of(k), *rows_of(v), decays(saved.log_decay), flat(saved.scales), saved.scales.shape[-1], flat(state),
            state.shape[-3], *map(flat, d_outs), *(x.reshape(-1) for x in (d_q, d_k, d_v, d_log_decay, d_scales, d_state)))
    return {"q": d_q, "k": d_k, "v": d_v, "log_decay": d_log_decay, "scales": d_scales, "state": d_state}
