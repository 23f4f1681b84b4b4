"""A state over tokens on plain arrays, forward and backward joined into one primitive of the engine."""

from __future__ import annotations

import math
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.states.backward import backward
from tinyattn.kernels.states.channel_backward import channel_backward
from tinyattn.kernels.states.channel_forward import channel_forward
from tinyattn.kernels.states.channels import LEAST
from tinyattn.kernels.states.features import NONE
from tinyattn.kernels.states.forward import forward
from tinyattn.kernels.states.replay import replayed
from tinyattn.kernels.states.step import step
from tinyattn.kernels.tiles import pages, storage
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.storage import Sizes, rounded_up, rows_of
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.donated import counter_of
from tinyattn.ops.types import Array

# Tokens of a chunk where keys and values are at most so wide; elsewhere a tile of keys. Measured at 16, 32 and 64: forward 32 takes
# 0.85 to 0.93 of the time of 64, and 96 and 128 more than both; backward they differ by less. At 96 and 128, 64 is as fast or faster.
CHUNK, NARROW = 32, 64
# The log of what a channel fades to at least for that, far enough from where it is one that rounds to it.
MILD = math.log(2 * LEAST)
# Up to so many tokens are taken one by one.
FEW = 8


class Saved(NamedTuple):
    """What the backward reads; `written` is None where that is v itself."""

    sizes: Sizes
    scale: float
    arrays: tuple[Array, Array, Array]
    log_decay: Array | None
    beta: Array | None
    state: Array
    written: Array | None


def sizes_of(q: Array, k: Array, v: Array) -> Sizes:
    """Returns the sizes of a call on (..., heads, length, dim) arrays, whose tiles of keys are the chunks."""
    return sizes_of_shapes(q.dtype, q.shape, k.shape, v.shape)


@lru_cache(maxsize=64)
def sizes_of_shapes(dtype: Any, *shapes: tuple[int, ...]) -> Sizes:
    """Returns the sizes for arrays of these shapes. Kept: a token has those of the token before it."""
    one = np.zeros((), dtype)
    sizes = storage.sizes_of(*(np.broadcast_to(one, shape) for shape in shapes))
    return sizes._replace(kv_tile=rounded_up(CHUNK, sizes.micro_columns)) if max(sizes.head_dim, sizes.value_dim) <= NARROW else sizes


def flat(x: Any) -> Array:
    """Returns an array as one contiguous axis that kernels can read: its own memory where it may be written to, else a copy."""
    line: Array = x.ravel()
    return line if line.flags.writeable else line.copy()


def far_of(log_decay: Any, sizes: Sizes) -> bool | None:
    """Returns None where no channel can fade far within a chunk: of how that is computed, kernels then compile nothing."""
    return None if log_decay.min(initial=0) * sizes.kv_tile >= MILD else True


def work(sizes: Sizes) -> int:
    """Returns the multiply-adds of a forward."""
    products = 2 * sizes.head_dim * sizes.value_dim + sizes.kv_tile * (sizes.head_dim + sizes.value_dim)
    return sizes.batch * sizes.heads * sizes.kv_len * products


def next_state(state: Array, counter: Array | None) -> Array:
    """Returns where the state after some tokens is written: over the one before them where that has a counter."""
    return np.empty(state.shape, state.dtype) if counter is None else state


def by_step(counter: Array | None, sizes: Sizes, scale: float, feature: int, waves: Array, q: Array, k: Array, v: Array, decay: Array,
            channels: int, *arrays: Array) -> None:
    """Folds tokens one by one, over threads or, if a counter is given, in one call that nothing interrupts."""
    given = (tuple(sizes), scale, feature, waves, flat(q), flat(k), flat(v), flat(decay), channels, *[flat(x) for x in arrays])
    if counter is None:
        run(step, sizes.batch * sizes.kv_heads, work(sizes) // 8, *given)
    else:
        step(counter, *given)


def saved_of(written: Array | None, q: Array, k: Array, v: Array, log_decay: Array | None, beta: Array | None, state: Array,
             scale: float) -> Saved:
    """Returns what the backward reads, from what was written where that is not v, and from the arguments."""
    return Saved(sizes_of(q, k, v), scale, (q, k, v), log_decay, beta, np.asarray(state), written)


@once
@primitive
@replayed(attrgetter("written"), saved_of)
def states(q: Array, k: Array, v: Array, log_decay: Array | None, beta: Array | None, state: Array,
           scale: float) -> tuple[tuple[Array, Array], Saved]:
    """Returns ((out, last state), what the backward reads) of plain arrays (..., heads, length, dim), causal.

    S_t = exp(log_decay_t) S_{t-1} + k_t x_t^T, out_t = scale S_t^T q_t, with x_t = v_t, or where there is a beta (..., kv_heads, j)
    x_t = beta_t (v_t - exp(log_decay_t) S_{t-1}^T k_t). log_decay (..., kv_heads, j), or (..., kv_heads, j, d) where each channel
    fades by itself and there is no beta; state (..., kv_heads, d, e), over which a few tokens write if it is donated.
    """
    sizes = sizes_of(q, k, v)
    counter = counter_of(state) if sizes.kv_len <= FEW else None
    state = np.asarray(state)  # Numba takes microseconds to tell the type of a subclass
    out, last = pages.empty((*q.shape[:-1], sizes.value_dim), q.dtype), next_state(state, counter)
    nothing = np.zeros(0, q.dtype)
    strength, written = (nothing, None) if beta is None else (beta, pages.empty(v.shape, q.dtype))
    corrections = nothing if written is None else written
    channels = log_decay is not None and log_decay.ndim == k.ndim
    if sizes.kv_len > FEW:
        given = (*rows_of(q), *rows_of(k), *rows_of(v))
        tasks, results = sizes.batch * sizes.kv_heads, (out.reshape(-1), last.reshape(-1))
        with np.errstate(under="ignore"):
            if channels:
                run(channel_forward, tasks, work(sizes), sizes, scale, *given, flat(log_decay), far_of(log_decay, sizes),
                    None, flat(state), *results)
            else:
                run(forward, tasks, work(sizes), sizes, scale, None, None, *given, decays(log_decay), None, None,
                    None if beta is None else flat(beta), flat(state), None, *results, None, None, flat(corrections))
    # What is not finite reaches the other rows of its micro tile, as 0 times it is NaN. It stays in the state.
    if sizes.kv_len <= FEW or not np.isfinite(last).all():
        decay = nothing if log_decay is None else np.exp(log_decay)
        by_step(counter, sizes, scale, NONE, nothing, q, k, v, decay, int(channels), strength, state, nothing, out, last, nothing,
                nothing, corrections)
    return (out, last), Saved(sizes, scale, (q, k, v), log_decay, beta, state, written)


def decays(log_decay: Array | None) -> Array:
    """Returns the decays in float64, none where the state does not fade."""
    return np.zeros(0) if log_decay is None else np.exp(flat(log_decay), dtype=np.float64)


@states.backward_giving
def _(d_outs: tuple[Array, Array], saved: Saved) -> dict[str, Array | None]:
    sizes, (q, k, v), dtype = saved.sizes, saved.arrays, saved.state.dtype
    d_q, d_k, d_v, d_state = (pages.empty(x.shape, dtype) for x in (q, k, v, saved.state))
    d_log_decay, d_beta = (pages.zeros(0 if x is None else x.shape, dtype) for x in (saved.log_decay, saved.beta))
    beta = None if saved.beta is None else flat(saved.beta)
    source = v if saved.written is None else saved.written
    given = (*rows_of(q), *rows_of(k), *rows_of(v))
    filled = [x.reshape(-1) for x in (d_q, d_k, d_v, d_log_decay)]
    tasks = sizes.batch * sizes.kv_heads
    with np.errstate(under="ignore"):
        if d_log_decay.ndim == k.ndim:
            run(channel_backward, tasks, 3 * work(sizes), sizes, saved.scale, *given, flat(saved.log_decay),
                far_of(saved.log_decay, sizes), None, flat(saved.state), *map(flat, d_outs), *filled, None, d_state.reshape(-1))
        else:
            run(backward, tasks, 3 * work(sizes), sizes, saved.scale, None, None, *given, *rows_of(source), decays(saved.log_decay),
                None, None, beta, flat(saved.state), None, None, *map(flat, d_outs), None, *filled, None, d_beta.reshape(-1),
                d_state.reshape(-1), None)
    gradients: dict[str, Array | None] = {"q": d_q, "k": d_k, "v": d_v, "state": d_state}
    if saved.log_decay is not None:
        gradients["log_decay"] = d_log_decay
    if saved.beta is not None:
        gradients["beta"] = d_beta
    return gradients
