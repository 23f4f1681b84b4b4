"""Products with the single keys that each query chose, and sums of their values: linear maps, each the other's gradient."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.jit import compiled, inlined, reassociated
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.threads import next_task, run
from tinyattn.ops.heads import split_group
from tinyattn.ops.types import Array

# Rows of one task.
ROWS = 64


@reassociated
def dot(x, at, y, begin, width):
    """Returns the product of a row of x and a row of y. Unsigned places, so that the loop becomes registers."""
    total, at, begin = x.dtype.type(0), np.uint64(at), np.uint64(begin)
    for c in range(width):
        total += x[at + np.uint64(c)] * y[begin + np.uint64(c)]
    return total


@inlined
def add_row(out, at, weight, x, begin, width):
    """Adds weight times a row of x to a row of out."""
    at, begin = np.uint64(at), np.uint64(begin)
    for c in range(width):
        out[at + np.uint64(c)] += weight * x[begin + np.uint64(c)]


@inlined
def rows_of_task(counter, rows):
    """Returns the first row of the next task and the one after its last: equal ones where no task is left."""
    first = min(rows, next_task(counter) * ROWS)
    return first, min(rows, first + ROWS)


@compiled
def dots(counter, rows, shared, length, keep, width, q, k, picks, out):
    """Fills out [row][n] with q[row] . k[picks[row][n]], 0 for a pick of -1; `shared` rows read one kv head of `length` keys."""
    while True:
        first, last = rows_of_task(counter, rows)
        if first == last:
            break
        for row in range(first, last):
            for n in range(row * keep, (row + 1) * keep):
                out[n] = dot(q, row * width, k, (row // shared * length + picks[n]) * width, width) if picks[n] >= 0 else 0


@compiled
def sums(counter, rows, shared, length, keep, width, weights, v, picks, out):
    """Adds to out [row] the sum of weights[row][n] v[picks[row][n]] over the picks that are not -1."""
    while True:
        first, last = rows_of_task(counter, rows)
        if first == last:
            break
        for row in range(first, last):
            for n in range(row * keep, (row + 1) * keep):
                if picks[n] >= 0:
                    add_row(out, row * width, weights[n], v, (row // shared * length + picks[n]) * width, width)


@compiled
def scattered(counter, kv_heads, shared, length, keep, width, weights, x, picks, out):
    """Adds weights[row][n] x[row] to out[picks[row][n]]; a task is one kv head, whose rows are taken in order."""
    while True:
        head = next_task(counter)
        if head >= kv_heads:
            break
        for row in range(head * shared, (head + 1) * shared):
            for n in range(row * keep, (row + 1) * keep):
                if picks[n] >= 0:
                    add_row(out, (head * length + picks[n]) * width, weights[n], x, row * width, width)


def mapped(kernel: Any, first: Array, second: Array, picks: Array, out: Array, kv_heads: int, length: int) -> Array:
    """Returns `out`, an array in C order, filled by one of the kernels from two arrays; picks (..., heads, i, keep)."""
    heads, q_len, keep = picks.shape[-3:]
    if picks.size and out.size:
        rows, width = picks.size // keep, second.shape[-1]
        shared = heads // kv_heads * q_len
        tasks, count = (rows // shared, rows // shared) if kernel is scattered else (-(-rows // ROWS), rows)
        run(kernel, tasks, picks.size * width, count, shared, length, keep, width,
            *(np.require(x, requirements=["C", "W"]).reshape(-1) for x in (first, second, picks)), out.reshape(-1))
    return out


def rows_of(x: Array, picks: Array) -> Array:
    """Returns the picked rows of x (..., kv_heads, j, d) as (..., heads, i, keep, d), zeros for -1, by functions that have rules."""
    index = split_group(np.maximum(picks, 0), x.shape[-3])[..., None]
    rows = np.take_along_axis(x[..., None, None, :, :], index, axis=-2).reshape(*picks.shape, x.shape[-1])
    return np.where((picks >= 0)[..., None], rows, 0.0)


@once
@primitive
def products_of_picks(q: Array, k: Array, picks: Array) -> tuple[Array, Any]:
    """Returns q_i . k_n for the keys n that query i picked: (..., heads, i, keep), 0 for a pick of -1."""
    return mapped(dots, q, k, picks, pages.empty(picks.shape, q.dtype), *k.shape[-3:-1]), (q, k, picks)


@products_of_picks.backward
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    q, k, picks = saved
    size = k.shape[-3:-1]
    return {"q": mapped(sums, d_out, k, picks, pages.zeros(q.shape, q.dtype), *size),
            "k": mapped(scattered, d_out, q, picks, pages.zeros(k.shape, k.dtype), *size)}


@once
@primitive
def sum_of_picks(weights: Array, v: Array, picks: Array) -> tuple[Array, Any]:
    """Returns the sum of weights_in v_n over the keys n that query i picked: (..., heads, i, e)."""
    out = pages.zeros((*picks.shape[:-1], v.shape[-1]), v.dtype)
    return mapped(sums, weights, v, picks, out, *v.shape[-3:-1]), (weights, v, picks)


@sum_of_picks.backward
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    weights, v, picks = saved
    size = v.shape[-3:-1]
    return {"weights": mapped(dots, d_out, v, picks, pages.empty(weights.shape, weights.dtype), *size),
            "v": mapped(scattered, weights, d_out, picks, pages.zeros(v.shape, v.dtype), *size)}


def products_in_numpy(q: Array, k: Array, picks: Array) -> Array:
    """Returns what `products_of_picks` returns, by functions that have rules."""
    return np.sum(q[..., None, :] * rows_of(k, picks), axis=-1)


def sum_in_numpy(weights: Array, v: Array, picks: Array) -> Array:
    """Returns what `sum_of_picks` returns, by functions that have rules."""
    return np.sum(weights[..., None] * rows_of(v, picks), axis=-2)
