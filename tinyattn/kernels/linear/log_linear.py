"""Log-linear attention over blocks: dense products between near tokens, and for each level above one state per block."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.linear.parts import by_parts, large
from tinyattn.ops.gates import behind, causal_values, check_log_decay, decayed_products, decays_between
from tinyattn.ops.heads import split_group
from tinyattn.ops.levels import check_level_scales, check_level_states, closed_before, level_between, levels_of
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

# Levels within this many tokens are computed pair by pair: that is less work than a state for each of them.
NEAR = 32


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)", "level_scales": "(j,l)"}, states=("initial_state",))
def log_linear_attention(q: Array, k: Array, v: Array, *, log_decay: Array, level_scales: Array, scale: float | None = None,
                         initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns simple gated linear attention in which a query weighs its past by levels; one product of blocks per level.

    Formula: out_i = scale sum_l level_scales_il S_il^T q_i. On level l, the tokens of every second block of 2^(l-1) tokens read
    the state of the block before. Memory grows with j log(j) up to
    the length of a part, as each level has the queries once; from part to part there is a state per level.

    Shapes, options and errors are those of `tinyattn.definitions.log_linear_attention`.

    Paper: Guo et al. 2025, arXiv:2506.04761.

    >>> ones = np.ones((4, 1)); far = np.array([0.0, 0.0, 1.0])
    >>> log_linear_attention(ones, ones, ones, log_decay=np.zeros(4), level_scales=np.tile(far, (4, 1)))[:, 0]
    array([0., 0., 2., 2.])
    """
    states, seen = check_level_states(initial_state, k, v)
    scales, log_decay = check_level_scales(level_scales, k, seen), check_log_decay(log_decay, k.shape[:-1], k.dtype)
    first_position(q, k)
    factor = check_scale(scale)
    if not (return_state or large(v)):
        return read(q * factor, k, v, log_decay, scales, states, seen)

    def form(start: int, q: Array, k: Array, v: Array, log_decay: Array, scales: Array, _: None, states: Array, *_none: None) -> Any:
        return (read(q * factor, k, v, log_decay, scales, states, seen + start),
                after(states, seen + start, k, v, log_decay) if k.shape[-2] else states)

    out, held = by_parts(form, (q, k, v, log_decay, scales), (states,))
    return (out, (held, np.full(k.shape[:-2], seen + k.shape[-2]))) if return_state else out


def read(q: Array, k: Array, v: Array, log_decay: Array, scales: Array, states: Array, seen: int) -> Array:
    """Returns what queries read of these tokens, of which the first stands at `seen`, and of the states before them."""
    first, length = k.shape[-2] - q.shape[-2], k.shape[-2]
    queries = split_group(behind(q, first), k.shape[-3])
    since = np.exp(np.cumsum(log_decay, axis=-1))
    out = among(queries, k, v, log_decay, scales, seen) if length else np.zeros((*queries.shape[:-1], v.shape[-1]), k.dtype)
    # The level on which each token sees a segment that ended before: it only grows. The lowest are one from the first token on.
    grown = np.maximum.accumulate(np.array([closed_before(seen + t) for t in range(length)], np.int64))
    lowest, later = 1, states[..., 1:, :, :]
    if seen and length:
        lowest = min(int(grown[0]), states.shape[-3] - 1)
        closed = np.sum(states[..., : lowest + 1, :, :], axis=-3, keepdims=True)
        later = np.concatenate((closed, states[..., lowest + 1 :, :, :]), axis=-3)
    for level in range(lowest, lowest + later.shape[-3]):
        at = np.broadcast_to(np.maximum(level, grown)[:, None], (*scales.shape[:-1], 1))
        share = np.take_along_axis(scales, at, axis=-1)[..., 0] * since
        out = out + (queries * share[..., None, :, None]) @ later[..., level - lowest, None, :, :]
    return out[..., first:, :].reshape(*q.shape[:-1], v.shape[-1])


def among(q: Array, k: Array, v: Array, log_decay: Array, scales: Array, seen: int) -> Array:
    """Returns what queries (..., kv_heads, groups, j, d) read of these tokens alone, of which the first stands at `seen`."""
    length, depth = k.shape[-2], levels_of(k.shape[-2]) - 1
    unit = 1 << depth
    lead = seen % unit
    blocks = -(-(lead + length) // unit)  # one or two whole blocks, which begin at a multiple of their length
    tail = blocks * unit - lead - length

    def padded(x: Array, axis: int) -> Array:
        parts = [np.zeros((*x.shape[:axis], n, *x.shape[axis:][1:]), x.dtype) for n in (lead, tail)]
        return np.concatenate((parts[0], x, parts[1]), axis=axis) if lead or tail else x

    q, k, v, scales, log_decay = (*(padded(x, -2) for x in (q, k, v, scales)), padded(log_decay, -1))
    near = min(NEAR, unit)
    out = within(q, k, v, log_decay, scales, near)
    halves = [(1 << level - 1, level) for level in range(levels_of(near), depth + 1)]
    if blocks > 1:
        halves.append((unit, level_between(seen - lead, seen - lead + unit)))
    for half, level in halves:
        out = out + across(q, k, v, log_decay, scales[..., level], half)
    return out[..., lead : lead + length, :]


def within(q: Array, k: Array, v: Array, log_decay: Array, scales: Array, near: int) -> Array:
    """Returns what queries read of the tokens in their own block of `near` tokens, pair by pair."""
    count = k.shape[-2] // near  # not -1, which no array without heads or channels can infer
    q_blocks, k_blocks, v_blocks, scales_of = (x.reshape(*x.shape[:-2], count, near, x.shape[-1]) for x in (q, k, v, scales))
    fading = decays_between(log_decay.reshape(*log_decay.shape[:-1], count, near, 1))
    table = np.array([[level_between(i, j) for j in range(near)] for i in range(near)])
    chosen = (table[:, None, :] == np.arange(levels_of(near))[:, None]).astype(k.dtype)  # (i, levels, j)
    scaled = (scales_of[..., None, : levels_of(near)] @ chosen)[..., 0, :]
    products = decayed_products(q_blocks, np.expand_dims(k_blocks, -4), np.expand_dims(fading, -5))
    read = causal_values(products * np.expand_dims(scaled, -4), np.expand_dims(v_blocks, -4))
    return read.reshape(*q.shape[:-1], v.shape[-1])


def across(q: Array, k: Array, v: Array, log_decay: Array, scales: Array, half: int) -> Array:
    """Returns what the queries of every second block of `half` tokens read of the block before, as one state; 0 for the others."""
    count = k.shape[-2] // (2 * half)
    keys, values = (x.reshape(*x.shape[:-2], count, 2, half, x.shape[-1])[..., 0, :, :] for x in (k, v))
    decays = log_decay.reshape(*log_decay.shape[:-1], count, 2, half)
    begun = np.exp(np.cumsum(decays[..., 1, :], axis=-1)) * scales.reshape(decays.shape)[..., 1, :]
    state = (keys * until_the_end(decays[..., 0, :])[..., None]).mT @ values
    asked = q.reshape(*q.shape[:-2], count, 2, half, q.shape[-1])[..., 1, :, :]
    read = (asked * begun[..., None, :, :, None]) @ state[..., None, :, :, :]
    return np.stack((np.zeros(read.shape, read.dtype), read), axis=-3).reshape(*q.shape[:-1], v.shape[-1])


def until_the_end(log_decay: Array) -> Array:
    """Returns the product of the decays after each token of a segment, up to its last one."""
    later = np.concatenate((log_decay[..., 1:], np.zeros_like(log_decay[..., :1])), axis=-1)
    return np.exp(np.flip(np.cumsum(np.flip(later, axis=-1), axis=-1), axis=-1))


def after(states: Array, seen: int, k: Array, v: Array, log_decay: Array) -> Array:
    """Returns the states after these tokens, of which the first stands at `seen`."""
    length = k.shape[-2]
    # The segments that had ended before are on this level, or above it.
    grown = max(closed_before(seen + t) for t in range(length))
    kept, total = until_the_end(log_decay)[..., None], np.exp(np.sum(log_decay, axis=-1))[..., None, None]
    at = np.array([level_between(seen + length - 1, seen + t) for t in range(length)])
    held = []
    for level in range(max(states.shape[-3], levels_of(seen + length))):
        here = np.flatnonzero(at == level)
        own = slice(int(here[0]), int(here[-1]) + 1) if here.size else slice(0, 0)
        state = (k[..., own, :] * kept[..., own, :]).mT @ v[..., own, :]
        for old in range(0 if seen else 1, states.shape[-3]):
            if max(old, grown) == level:
                state = state + total * states[..., old, :, :]
        held.append(state)
    return np.stack(held, axis=-3)
