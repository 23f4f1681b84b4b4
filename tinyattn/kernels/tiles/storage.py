"""What kernels read: contiguous arrays whose edges are whole micro tiles, and places in arrays that broadcast."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.lanes import ROWS, columns, lanes
from tinyattn.kernels.tiles.threads import LEAST_SIZE, each
from tinyattn.ops.bias import Bias
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array

# Queries and keys of one tile of scores. Measured on 2 cores with AVX-512: 64 x 64 is within 3 % of the best of
# 32 to 128 each way at head_dim 64 and the best at 128; three tiles then fit in the first cache.
Q_TILE, KV_TILE = 64, 64
# Heads that read the same mask or bias from which on turning it takes less time than reading it across.
SHARED = 16
# Entries of an axis that are copied at once.
PART = 64
# Parts of a large array that are summed one by one.
PARTS = 8


class Sizes(NamedTuple):
    """The sizes of one call; rows and widths are those of the padded arrays. Queries are read row by row and need no more rows."""

    batch: int
    heads: int
    kv_heads: int
    q_len: int
    kv_len: int
    head_dim: int
    value_dim: int
    kv_rows: int
    head_width: int
    value_width: int
    q_tile: int
    kv_tile: int
    micro_columns: int
    lanes: int


def rounded_up(length: int, part: int) -> int:
    """Returns the length rounded up to whole parts."""
    return -(-length // part) * part


def sizes_of(q: Array, k: Array, v: Array) -> Sizes:
    """Returns the sizes of a call on (..., heads, length, dim) arrays; tiles are rounded up to whole micro tiles."""
    width = columns(q.dtype.itemsize)
    (*lead, heads, q_len, head_dim), (kv_heads, kv_len, value_dim) = q.shape, v.shape[-3:]
    kv_tile = rounded_up(KV_TILE, ROWS)
    # At least one micro tile of rows is read of every tile, and so of the last one.
    kv_rows = max(kv_len, (kv_len - 1) // kv_tile * kv_tile + ROWS, ROWS)
    return Sizes(math.prod(lead), heads, kv_heads, q_len, kv_len, head_dim, value_dim, kv_rows,
                 rounded_up(head_dim, width), rounded_up(value_dim, width), rounded_up(min(Q_TILE, max(q_len, 1)), width),
                 kv_tile, width, lanes(q.dtype.itemsize))


def padded(x: Array, rows: int, width: int) -> Array:
    """Returns x (..., heads, length, dim) flat, with zeros up to (rows, width) of each head: x's own memory where that will do."""
    *lead, length, dim = x.shape
    if (length, dim) == (rows, width) and x.flags.c_contiguous and x.flags.writeable:
        return x.reshape(-1)
    filled = pages.empty((*lead, rows, width), x.dtype)
    filled[..., length:, :] = 0
    filled[..., :length, dim:] = 0
    # Over the longest axis before the rows: a copy is as long as what is computed where windows are small.
    axis = max(range(len(lead)), key=lambda n: lead[n])
    parts = [(slice(None),) * axis + (slice(start, start + PART),) for start in range(0, lead[axis], PART)]

    def copy(n: int) -> None:
        filled[..., :length, :dim][parts[n]] = x[parts[n]]

    each(copy, len(parts), x.size)
    return filled.reshape(-1)


def filled(q: Array, k: Array, v: Array, sizes: Sizes) -> tuple[Array, Array, Array]:
    """Returns q, k, v flat, filled up to whole micro tiles."""
    return (padded(q, sizes.q_len, sizes.head_width), padded(k, sizes.kv_rows, sizes.head_width),
            padded(v, sizes.kv_rows, sizes.value_width))


def work(sizes: Sizes) -> int:
    """Returns the multiply-adds of a forward in which every query sees every key."""
    return sizes.batch * sizes.heads * sizes.q_len * sizes.kv_len * (sizes.head_dim + sizes.value_dim)


def all_finite(*arrays: Array) -> bool:
    """Returns whether no array (..., length, dim) holds NaN or inf, as far as sums tell: a sum that overflows says no."""
    parts: list[Array] = []
    for x in arrays:
        axis = int(np.argmax(x.shape[:-1]))
        parts += np.array_split(x, PARTS, axis=axis) if x.size >= LEAST_SIZE else [x]
    found = np.zeros(len(parts), np.bool_)

    def task(n: int) -> None:
        with np.errstate(all="ignore"):
            found[n] = np.isfinite(parts[n].sum())

    each(task, len(parts), sum(x.size for x in arrays))
    return bool(found.all())


class Rows(NamedTuple):
    """An array (..., heads, length, dim) where it stands: flat, where each head begins, and the step from row to row."""

    values: Array
    start: Array
    row: int


def rows_of(x: Array) -> Rows:
    """Returns the rows of an array in its own memory, if each is contiguous and it may be written to; else of a copy."""
    if x.flags.c_contiguous and x.flags.writeable:
        return Rows(x.reshape(-1), np.arange(math.prod(x.shape[:-2])) * (x.shape[-2] * x.shape[-1]), x.shape[-1])
    lead, size = x.shape[:-2], x.itemsize
    if x.strides[-1] != size or not x.flags.writeable or any(step < 0 or step % size for step in x.strides):
        x = np.require(x, requirements=["C", "W"]).reshape(x.shape)
    steps = [step // size for step in x.strides]
    start = np.zeros(1, np.int64)
    for count, step in zip(lead, steps[:-2], strict=True):
        start = (start[:, None] + np.arange(count) * step).reshape(-1)
    span = 1 + sum((count - 1) * step for count, step in zip(x.shape, steps, strict=True)) if x.size else 0
    return Rows(np.lib.stride_tricks.as_strided(x, (span,), (size,)), start, steps[-2])


def distances(bias: Bias, heads: int, q_len: int, kv_len: int, dtype: Any) -> Array:
    """Returns a bias that is a rule on distances as (heads, q_len + kv_len - 1): entry n is of key minus query q_len - 1 - n."""
    far = floating("bias", bias.of(np.arange(q_len - 1, -kv_len, -1)))
    far = far if far.ndim > 1 else far[None]
    if far.shape not in ((1, max(0, q_len + kv_len - 1)), (heads, max(0, q_len + kv_len - 1))):
        raise ValueError(f"bias: expected a rule that gives one number per distance, for each of {heads} heads or for all, "
                         f"got shape {far.shape} of {max(0, q_len + kv_len - 1)} distances")
    if far.dtype != dtype:
        with np.errstate(over="ignore", under="ignore"):
            far = far.astype(dtype)
    return np.broadcast_to(far, (heads, far.shape[1]))


class Places(NamedTuple):
    """An array that broadcasts to (batch, heads, i, j), flat: element (b, h, i, j) is at start[b heads + h] + i row + j column."""

    values: Array
    start: Array
    row: int
    column: int


def places(x: Array, full: tuple[int, ...]) -> Places:
    """Returns where the elements of an array stand that broadcasts to the full shape (..., heads, i, j).

    One that many heads share is turned first, as tiles are, unless it stands so in memory: its rows are then read as whole
    registers. Of a single tile, which the caches hold while it is turned, each byte needs one head.
    """
    x = x.reshape((1,) * (len(full) - x.ndim) + x.shape)
    *lead, rows, width = x.shape
    start = np.arange(math.prod(lead)).reshape(lead) * (rows * width)
    least = SHARED * x.size if max(rows, width) > max(Q_TILE, KV_TILE) else x.nbytes
    if min(rows, width) > 1 and (x.mT.flags.c_contiguous or math.prod(full) >= least):
        x = np.require(x.mT, requirements=["C", "W"])
        return Places(x.reshape(-1), np.broadcast_to(start, full[:-2]).flatten(), 1, rows)
    return Places(np.require(x, requirements=["C", "W"]).reshape(-1), np.broadcast_to(start, full[:-2]).flatten(),
                  width if rows > 1 else 0, 1 if width > 1 else 0)


def nothing(dtype: object) -> Places:
    """Returns the places of an array that is not there: no starts."""
    return Places(np.zeros(0, dtype), np.zeros(0, np.int64), 0, 0)  # type: ignore[call-overload]
