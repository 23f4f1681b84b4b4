"""What stands around a kernel, head by head over threads: rows turned by positions, results merged, rows replaced or sorted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tinyattn.engine.primitive import Primitive, primitive
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.threads import each, thread_count, threads, workers_for
from tinyattn.ops.merge import Partial, merge
from tinyattn.ops.positions.frequencies import plain
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.types import Array


def again(form: Callable[..., Any]) -> Callable[[Primitive[..., Any]], Primitive[..., Any]]:
    """Returns the decorator that names the form in NumPy which second derivatives of a primitive walk."""
    return lambda primitive: primitive.again(form)


def by_head(x: Array, rank: int = 2) -> Array:
    """Returns (..., length, width), or (..., length) with a rank of 1, as one axis of heads before it."""
    return x.reshape(math.prod(x.shape[:-rank]), *x.shape[x.ndim - rank :])


@lru_cache(maxsize=4)
def turns(positions: bytes, width: int, base: float, dtype: Any) -> tuple[Array, Array]:
    """Returns the cos and the sin of every pair at every position; kept, as layers and backwards turn by the same."""
    angles = np.frombuffer(positions, np.int64)[:, None] * plain(width, base)
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def turn(x: Array, positions: Array, base: float, interleaved: bool, sign: int) -> Array:
    """Returns x (..., length, width) turned by its positions (length,), or turned back with a sign of -1."""
    plain(x.shape[-1], base)  # refuses by name what the lookup of kept angles could not hash
    cos, sin = turns(positions.astype(np.int64).tobytes(), x.shape[-1], base, x.dtype)
    out = pages.empty(x.shape, x.dtype)
    half = x.shape[-1] // 2
    first, second = (np.s_[:, 0::2], np.s_[:, 1::2]) if interleaved else (np.s_[:, :half], np.s_[:, half:])
    heads, outs = by_head(x), by_head(out)

    def task(n: int) -> None:
        a, b, turned = heads[n][first], heads[n][second], outs[n]
        turned[first] = a * cos - b * sin if sign > 0 else a * cos + b * sin
        turned[second] = b * cos + a * sin if sign > 0 else b * cos - a * sin

    each(task, len(heads), x.size)
    return out


def turned_in_numpy(x: Array, positions: Array, base: float, interleaved: bool) -> Array:
    """Returns `turned` by functions that have rules."""
    return rotary(x, positions, base=base, interleaved=interleaved)


@again(turned_in_numpy)
@primitive
def turned(x: Array, positions: Array, base: float, interleaved: bool) -> tuple[Array, Any]:
    """Returns `rotary(x, positions, base=base, interleaved=interleaved)` of a plain array and positions (length,)."""
    return turn(x, positions, base, interleaved, 1), (positions, base, interleaved)


@turned.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    positions, base, interleaved = saved
    return {"x": turn(d_out, positions, base, interleaved, -1)}


def merged_in_numpy(out_a: Array, lse_a: Array, out_b: Array, lse_b: Array) -> Partial:
    """Returns `merged` by functions that have rules."""
    return merge((out_a, lse_a), (out_b, lse_b))


@again(merged_in_numpy)
@primitive
def merged(out_a: Array, lse_a: Array, out_b: Array, lse_b: Array) -> tuple[Partial, Any]:
    """Returns `merge((out_a, lse_a), (out_b, lse_b))` of plain arrays."""
    top = np.maximum(lse_a, lse_b)
    top = np.where(np.isneginf(top), 0, top)
    mass_a, mass_b = np.exp(lse_a - top), np.exp(lse_b - top)
    total = mass_a + mass_b
    some = np.where(total == 0, 1, total)
    share_a, share_b = mass_a / some, mass_b / some
    with np.errstate(divide="ignore"):
        lse = np.log(total) + top
    out = np.empty(out_a.shape, out_a.dtype)
    a, b, both, left, right = by_head(out_a), by_head(out_b), by_head(out), by_head(share_a, 1), by_head(share_b, 1)

    def task(n: int) -> None:
        np.multiply(a[n], left[n][:, None], out=both[n])
        both[n] += b[n] * right[n][:, None]

    each(task, len(both), out.size)
    return (out, lse), (out_a, out_b, out, share_a, share_b)


@merged.backward_giving
def _(d_outs: Partial, saved: Any) -> dict[str, Array]:
    # lse = log(exp(lse_a) + exp(lse_b)), whose slopes are the shares; a share's slope in its own lse is share (out_a - out).
    (d_out, d_lse), (out_a, out_b, out, share_a, share_b) = d_outs, saved
    made = {name: np.empty(x.shape, x.dtype) for name, x in (("out_a", out_a), ("out_b", out_b), ("lse_a", d_lse), ("lse_b", d_lse))}
    g, whole = by_head(d_out), by_head(out)
    sides = [(by_head(x), by_head(share, 1), by_head(made[f"out_{name}"]), by_head(made[f"lse_{name}"], 1), by_head(d_lse, 1))
             for name, x, share in (("a", out_a, share_a), ("b", out_b, share_b))]

    def task(n: int) -> None:
        for part, share, d_part, d_log, d_total in sides:
            np.multiply(g[n], share[n][:, None], out=d_part[n])
            d_log[n] = share[n] * d_total[n] + (d_part[n] * (part[n] - whole[n])).sum(axis=-1)

    each(task, len(g), out.size)
    return made


def placed_in_numpy(x: Array, rows: Array, y: Array) -> Array:
    """Returns `placed` by functions that have rules."""
    place = np.arange(x.shape[-2])
    place[rows] = x.shape[-2] + np.arange(len(rows))
    return np.concatenate((x, y), axis=-2)[..., place, :]


@again(placed_in_numpy)
@primitive
def placed(x: Array, rows: Array, y: Array) -> tuple[Array, Any]:
    """Returns x (..., length, width) with y (..., count, width) in the place of some of its rows."""
    return with_rows(x, rows, by_head(y)), rows


@placed.backward_giving
def _(d_out: Array, rows: Any) -> dict[str, Array]:
    return {"x": with_rows(d_out, rows, np.zeros((math.prod(d_out.shape[:-2]), 1, 1), d_out.dtype)), "y": d_out[..., rows, :]}


def with_rows(x: Array, rows: Array, y: Array) -> Array:
    """Returns a copy of x (..., length, width) with other rows, y (heads, count, width), in some places."""
    out = pages.empty(x.shape, x.dtype)
    heads, outs = by_head(x), by_head(out)

    def task(n: int) -> None:
        outs[n] = heads[n]
        outs[n][rows] = y[n]

    each(task, len(outs), x.size)
    return out


def row_products(x: Array, y: Array) -> Array:
    """Returns the product of each row of x (..., length, width) with the same row of y: (..., length)."""
    out = np.empty(x.shape[:-1], x.dtype)
    ours, theirs, outs = by_head(x), by_head(y), by_head(out, 1)

    def task(n: int) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            np.sum(ours[n] * theirs[n], axis=-1, out=outs[n])

    each(task, len(outs), x.size)
    return out


def each_part(task: Callable[[Any], None], parts: Sequence[Any], size: int) -> None:
    """Calls the task for every part over threads, which share the rest of the threads among them; `size` is that of all parts."""
    inner = max(1, thread_count() // workers_for(len(parts), size))

    def one(n: int) -> None:
        with threads(inner):
            task(parts[n])

    each(one, len(parts), size)


def rows_taken(x: Array, at: Array) -> Array:
    """Returns the rows of x (rows, width) at some places, (*places, width)."""
    return np.take(x, at, axis=0, mode="clip")


def rows_put(x: Array, at: Array, rows: Array) -> None:
    """Writes rows into some places of x (rows, width), which is contiguous."""
    if x.size:
        # A row as one element: assigned by an array of places, rows of numbers take up to twice as long.
        row = np.dtype((np.void, x.shape[-1] * x.itemsize))
        np.put(x.view(row), at, np.ascontiguousarray(rows).view(row))
