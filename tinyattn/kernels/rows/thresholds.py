"""Attention by the scores above a threshold, on plain arrays: what its kernels read, and sums of gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.kernels.exact.primitive import Options, blank_hidden, scoring
from tinyattn.kernels.exact.scores import Rules
from tinyattn.kernels.exact.tasks import TASKS
from tinyattn.kernels.rows.above import above_forward
from tinyattn.kernels.rows.above_backward import above_backward
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.listed import LISTS
from tinyattn.kernels.tiles.seen import seen_of
from tinyattn.kernels.tiles.storage import Sizes, all_finite, filled, padded, sizes_of, work
from tinyattn.kernels.tiles.threads import run, workers_of
from tinyattn.ops.types import Array

# Bytes of the scores of a tile of queries that a thread holds; the backward holds as many of their gradients too.
HELD_BYTES = 1 << 25


class Saved(NamedTuple):
    """What the backward reads."""

    sizes: Sizes
    rules: Rules
    scale: float
    square: bool
    finite: bool
    room: int
    arrays: tuple[Array, ...]
    inputs: tuple[Array, Array, Array]
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    tops: Array
    levels: Array


def fits(q: Array, k: Array, v: Array, options: Options) -> bool:
    """Returns whether the kernels take a call: it has no cap, its mask is no pattern, and a thread may hold all its keys."""
    plain = options.softcap is None and (options.mask is None or isinstance(options.mask, np.ndarray))
    return bool(plain and q.size and k.size and v.size and room_of(sizes_of(q, k, v), q.dtype))


def room_of(sizes: Sizes, dtype: Any) -> int:
    """Returns how many tiles of keys a tile of queries may see, 0 if they are too many to be held."""
    tiles = -(-sizes.kv_len // sizes.kv_tile)
    return tiles if tiles * sizes.kv_tile * sizes.q_tile * dtype.itemsize <= HELD_BYTES else 0


def held_by(tasks: int, multiplied: int, sizes: Sizes, dtype: Any, kinds: int = 1) -> tuple[Array, Array, int]:
    """Returns a count of the threads that have begun, none, what each of them holds, and the tiles of one kind."""
    room = room_of(sizes, dtype)
    numbers = workers_of(tasks, multiplied) * kinds * room * sizes.kv_tile * sizes.q_tile
    return np.zeros(1, np.int64), np.zeros(numbers, dtype), room


def above(q: Array, k: Array, v: Array, bias: Array | None, square: bool, options: Options) -> tuple[Array, Saved]:
    """Returns (out, what the backward reads)."""
    full, sizes, dtype = (*q.shape[:-1], k.shape[-2]), sizes_of(q, k, v), q.dtype
    seen = seen_of(options.mask, options.left, options.right, full, sizes)
    q, k, v = blank_hidden(q, k, v, options, full, seen)
    rules, *arrays = scoring(options, seen, bias, None, full, dtype)
    parts, inputs, finite = tuple(arrays[LISTS - 1 :]), filled(q, k, v, sizes), all_finite(q, k, v)
    out, tops, levels = pages.empty((*full[:-1], sizes.value_dim), dtype), pages.empty(full[:-1], dtype), pages.empty(full[:-1], dtype)
    tasks = sizes.batch * sizes.heads * -(-sizes.q_len // sizes.q_tile)
    held = held_by(tasks, work(sizes), sizes, dtype)
    run(above_forward, tasks, work(sizes), *held, sizes, rules, finite, square, float(np.finfo(dtype).eps), *parts, *inputs,
        out.reshape(-1), tops.reshape(-1), levels.reshape(-1))
    return out, Saved(sizes, rules, options.scale, square, finite, held[2], parts, inputs, (q.shape, k.shape, v.shape), tops, levels)


def above_gradients(d_out: Array, saved: Saved) -> dict[str, Array]:
    """Returns the gradients."""
    sizes, dtype, (of_q, of_k, of_v) = saved.sizes, d_out.dtype, saved.shapes
    blocks = -(-sizes.q_len // sizes.q_tile) * (sizes.heads // sizes.kv_heads)
    splits = max(1, min(-(-TASKS // (sizes.batch * sizes.kv_heads)), blocks))
    tasks = sizes.batch * sizes.kv_heads * splits
    d_q = pages.empty(of_q, dtype)
    d_k, d_v = (pages.zeros((splits, *of_k[:-1], width), dtype) for width in (sizes.head_width, sizes.value_width))
    run(above_backward, tasks, 3 * work(sizes), *held_by(tasks, 3 * work(sizes), sizes, dtype, kinds=2), splits, sizes, saved.rules,
        saved.finite and all_finite(d_out), saved.square, *saved.arrays, saved.scale, *saved.inputs, saved.tops.reshape(-1),
        saved.levels.reshape(-1), padded(d_out, sizes.q_len, sizes.value_width), d_q.reshape(-1), d_k.reshape(-1), d_v.reshape(-1))
    return {"q": d_q, "k": d_k.sum(axis=0)[..., : of_k[-1]], "v": d_v.sum(axis=0)[..., : of_v[-1]]}
