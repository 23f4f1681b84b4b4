"""Attention whose heads are mixed before and after the softmax, on plain arrays: what its kernels read, and sums of gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.kernels.exact.primitive import Options, scoring
from tinyattn.kernels.exact.scores import Rules
from tinyattn.kernels.rows.mixed import mixed_forward
from tinyattn.kernels.rows.mixed_backward import mixed_backward
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.listed import LISTS
from tinyattn.kernels.tiles.rows import by_head
from tinyattn.kernels.tiles.seen import seen_of
from tinyattn.kernels.tiles.storage import Sizes, filled, padded, rounded_up, sizes_of, work
from tinyattn.kernels.tiles.threads import each, run, workers_of
from tinyattn.ops.types import Array

# Bytes of the tiles that a thread holds between two turns over the keys, forward, and of each of the three kinds of the backward.
# 2,048 tokens of 8 heads take 4 MiB; with room for half of them a forward took 1.21 times as long, and with none 1.42 times.
HELD_BYTES, HELD_BYTES_BACK = 1 << 24, 10 << 20
# Bytes of one tile of all heads, and most of its keys. What is read of the queries of all heads fits into no near cache, and is read
# once per tile: at 2,048 tokens of 8 heads a backward took 1.14 times as long with tiles of 64 keys, and 1.04 times with 256.
TILE_BYTES, MOST_KEYS = 1 << 20, 512
# Splits of the query tiles, each with copies of d_k and d_v: fixed, so that the sums are taken in one order whatever the machine.
TASKS = 4
# Queries of a split, where there are more than two: four copies for 2,048 queries took 4 % of a call longer than two.
SPLIT = 1024
# Bytes of the copies of d_k and d_v beside the arrays themselves, where more than two splits need them: as much as two threads may
# hold, and of 32,768 tokens of 8 heads of 64 one copy of each.
COPIED_BYTES = 128 << 20
# More heads have tiles too large for what a thread may hold.
MOST_HEADS = 64


class Saved(NamedTuple):
    """What the backward reads."""

    options: Options
    sizes: Sizes
    rules: Rules
    arrays: tuple[Array, ...]
    inputs: tuple[Array, Array, Array]
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    matrices: tuple[Array, Array]
    sinks: Array | None
    tops: Array
    totals: Array


def fits(q: Array, k: Array, v: Array, options: Options) -> bool:
    """Returns whether the kernels take a call: its mask is no pattern, its bias needs no gradient, its heads are not too many."""
    plain = options.mask is None or isinstance(options.mask, np.ndarray)
    return plain and not options.learned and q.shape[-3] <= MOST_HEADS and q.size > 0 and k.size > 0 and v.size > 0


def mixed(q: Array, k: Array, v: Array, bias: Array | None, sinks: Array | None, before: Array, after: Array,
          options: Options) -> tuple[Array, Saved]:
    """Returns (out, what the backward reads)."""
    full, sizes, dtype = (*q.shape[:-1], k.shape[-2]), long_tiles(sizes_of(q, k, v), q.dtype), q.dtype
    rules, *arrays = scoring(options, seen_of(options.mask, options.left, options.right, full, sizes), bias, None, full, dtype)
    matrices, parts = (in_micro_tiles(before), in_micro_tiles(after)), tuple(arrays[LISTS - 1 :])
    out, tops, totals = pages.empty((*full[:-1], sizes.value_dim), dtype), pages.empty(full[:-1], dtype), pages.empty(full[:-1])
    inputs = filled(q, k, v, sizes)
    tasks = sizes.batch * -(-sizes.q_len // sizes.q_tile)
    run(mixed_forward, tasks, work(sizes), *held_by(tasks, work(sizes), sizes, dtype), sizes, rules,
        *room_of(sizes, dtype, HELD_BYTES), *parts,
        np.zeros(0, dtype) if sinks is None else np.require(sinks, requirements=["C", "W"]), *matrices, *inputs,
        out.reshape(-1), tops.reshape(-1), totals.reshape(-1))
    return out, Saved(options, sizes, rules, parts, inputs, (q.shape, k.shape, v.shape), matrices, sinks, tops, totals)


def mixed_gradients(d_out: Array, saved: Saved) -> dict[str, Array | None]:
    """Returns the gradients by argument, `first` and `second` those of the two matrices."""
    sizes, dtype, heads, (of_q, of_k, of_v) = saved.sizes, d_out.dtype, saved.sizes.heads, saved.shapes
    splits = splits_of(sizes, dtype)
    d_q, delta = pages.empty(of_q, dtype), pages.empty(of_q[:-1])
    (d_k, more_k), (d_v, more_v) = ((pages.zeros((*of_k[:-1], width), dtype), pages.zeros((splits - 1, *of_k[:-1], width), dtype))
                                    for width in (sizes.head_width, sizes.value_width))
    d_matrices = np.zeros((2, sizes.batch * splits, heads, heads))
    tasks, held = sizes.batch * splits, held_by(sizes.batch * splits, 3 * work(sizes), sizes, dtype, backward=True)
    run(mixed_backward, tasks, 3 * work(sizes), *held, splits, sizes, saved.rules, *room_of(sizes, dtype, HELD_BYTES_BACK),
        *saved.arrays, saved.options.scale, *saved.matrices, *saved.inputs,
        saved.tops.reshape(-1), saved.totals.reshape(-1), padded(d_out, sizes.q_len, sizes.value_width),
        *(x.reshape(-1) for x in (d_q, d_k, d_v, more_k, more_v, delta)), *d_matrices.reshape(2, -1))
    first, second = (d_matrix.sum(axis=0).astype(dtype) for d_matrix in d_matrices)
    add_copies(d_k, more_k)
    add_copies(d_v, more_v)
    gradients: dict[str, Array | None] = {"q": d_q, "k": d_k[..., : of_k[-1]], "v": d_v[..., : of_v[-1]], "first": first,
                                          "second": second}
    if saved.sinks is not None:
        shift = np.where(np.isneginf(saved.tops), dtype.type(0), saved.tops)
        share = np.exp(saved.sinks[:, None] - shift) / np.where(saved.totals == 0, 1, saved.totals) * delta
        gradients["sinks"] = -share.sum(axis=(*range(share.ndim - 2), -1)).astype(dtype)
    return gradients


def long_tiles(sizes: Sizes, dtype: Any) -> Sizes:
    """Returns the sizes with as many keys in a tile as the tiles of all heads have room for, but no more than there are."""
    least = sizes.kv_tile
    room = TILE_BYTES // (sizes.heads * sizes.q_tile * dtype.itemsize) // least * least
    return sizes._replace(kv_tile=max(least, min(room, MOST_KEYS, rounded_up(sizes.kv_len, least))))


def room_of(sizes: Sizes, dtype: Any, held: int) -> tuple[int, int]:
    """Returns how many tiles of keys a thread holds in so many bytes, and how many rows the matrices have."""
    tile = sizes.heads * (sizes.kv_tile * sizes.q_tile + sizes.micro_columns) * dtype.itemsize
    return min(-(-sizes.kv_len // sizes.kv_tile), held // tile), rounded_up(sizes.heads, ROWS)


def held_by(tasks: int, multiplied: int, sizes: Sizes, dtype: Any, backward: bool = False) -> tuple[Array, Array]:
    """Returns a count of the threads that have begun, none, and what each of them holds: one kind of tiles, or three."""
    kinds, held = (3, HELD_BYTES_BACK) if backward else (1, HELD_BYTES)
    room, rows = room_of(sizes, dtype, held)
    tiles, tile = room * sizes.heads + rows, sizes.kv_tile * sizes.q_tile + sizes.micro_columns
    return np.zeros(1, np.int64), pages.zeros(workers_of(tasks, multiplied) * kinds * tiles * tile, dtype)


def splits_of(sizes: Sizes, dtype: Any) -> int:
    """Returns into how many splits a backward deals the query tiles of a sequence; from the shapes alone."""
    copy = sizes.batch * sizes.kv_heads * sizes.kv_len * (sizes.head_width + sizes.value_width) * dtype.itemsize
    most = min(max(2, sizes.q_len // SPLIT), max(2, 1 + COPIED_BYTES // copy))
    return min(-(-TASKS // sizes.batch), -(-sizes.q_len // sizes.q_tile), most)


def add_copies(total: Array, copies: Array) -> None:
    """Adds copies (copies, ..., length, dim) to a total, over threads: head by head, each of which stays in a near cache."""
    totals = by_head(total)
    parts = copies.reshape(len(copies), *totals.shape)

    def add(n: int) -> None:
        for part in parts[:, n]:
            totals[n] += part

    each(add, len(totals), copies.size)


def in_micro_tiles(matrix: Array) -> Array:
    """Returns a matrix flat, filled up with zeros to whole micro tiles."""
    size, whole = len(matrix), rounded_up(len(matrix), ROWS)
    filled_up = np.zeros((whole, whole), matrix.dtype)
    filled_up[:size, :size] = matrix
    return filled_up.reshape(-1)
