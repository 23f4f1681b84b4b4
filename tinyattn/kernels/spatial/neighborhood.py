"""Neighbourhood attention: the exact kernel over the tiles that hold a neighbour."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact.primitive import Options
from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.softmax.part import Call, Results, by_group, call_of, room_for, some_of
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.rows import each_part
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.neighbours import Axis, check_neighbourhood, neighbours
from tinyattn.ops.options import check_scale
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, coordinates

# Cells of a tile, and how many times fewer tiles an order must leave: it costs a copy of queries, keys, values and results.
TILE, LEAST_GAIN = 64, 1.25
# Numbers of the queries that are sorted at once.
TOGETHER = 1 << 19


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def neighborhood_attention(q: Array, k: Array, v: Array, *, grid: Grid, kernel: int | Grid, dilation: int | Grid = 1,
                           stride: int | Grid = 1, causal: bool | tuple[bool, ...] = False, scale: float | None = None) -> Array:
    """Returns attention of each cell to the `kernel` nearest ones along every axis; at a border the window moves inward.

    Shapes: q (..., heads, i, d), k (..., kv_heads, i, d), v (..., kv_heads, i, e), i = the cells of the grid in row-major
    order -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.neighborhood_attention`.

    Paper: Hassani et al. 2022, arXiv:2204.07143; dilated: arXiv:2209.15001; strided: arXiv:2504.16922.

    >>> x = np.arange(4.0)[:, None]
    >>> neighborhood_attention(x * 0, x * 0, x, grid=(4,), kernel=3)[:, 0]
    array([1., 1., 2., 2.])
    """
    grid, axes = check_neighbourhood(q, k, grid, kernel, dilation, stride, causal)
    order, back, seen = neighbourhood(grid, axes)
    if order is None or back is None or not q.size:
        return attention(q, k, v, mask=seen, scale=scale)
    return attention_in_order(q, k, v, Order(order, back, seen), check_scale(scale, q.shape[-1]))


@lru_cache(maxsize=16)
def neighbourhood(grid: Grid, axes: tuple[Axis, ...]) -> tuple[Array | None, Array | None, Pattern]:
    """Returns an order of the cells, the way back, and which cell then sees which; no order where it saves too little.

    In order, the cells of a residue stand together, and among them those of a block of about TILE: neighbours are then in fewer tiles.
    """
    place = coordinates(grid)
    order = np.lexsort(tuple(column for column in reversed(sort_keys(place, axes))))
    plain, tiled = seen_among(place, axes), seen_among(place[order], axes)
    if LEAST_GAIN * visited(tiled, len(place)) > visited(plain, len(place)):
        return None, None, plain
    return order, np.argsort(order), tiled


def sort_keys(place: Array, axes: tuple[Axis, ...]) -> list[Array]:
    """Returns what the cells are sorted by: their residues, then their blocks, then their places."""
    side = max(1, round(TILE ** (1 / len(axes))))
    near = [place[:, n] // axis.dilation for n, axis in enumerate(axes)]
    lengths = [-(-axis.length // axis.dilation) for axis in axes]
    sides = [-(-length // max(1, round(length / side))) for length in lengths]  # blocks of about one size, without a thin last one
    return [*(place[:, n] % axis.dilation for n, axis in enumerate(axes)),
            *(at // max(1, size) for at, size in zip(near, sides, strict=True)), *near]


def visited(seen: Pattern, cells: int) -> int:
    """Returns how many pairs of tiles may hold a visible pair."""
    start = np.arange(0, cells, TILE)
    last = np.minimum(start + TILE, cells) - 1
    return int(np.count_nonzero(seen.corners(start[:, None], last[:, None], start, last)[0]))


def seen_among(place: Array, axes: tuple[Axis, ...]) -> Pattern:
    """Returns which of these cells sees which: along every axis one of the same residue between the ends of its window."""
    ends = [ends_of(axis) for axis in axes]

    def see(i: Array, j: Array) -> Any:
        seen: Any = True
        for n, (axis, (low, high)) in enumerate(zip(axes, ends, strict=True)):
            mine, theirs = place[i, n], place[j, n]
            seen = seen & (theirs >= low[mine]) & (theirs <= high[mine])
            if axis.dilation > 1:
                seen = seen & (theirs % axis.dilation == mine % axis.dilation)
        return seen

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        # Of each tile the box of its cells, the box of what they see, and which residues its cells have, a bit each.
        some: Any = True
        for n, (axis, (low, high)) in enumerate(zip(axes, ends, strict=True)):
            column = place[:, n]
            bits = np.int64(1) << (column % axis.dilation % 62)
            some = some & ((over(np.bitwise_or, bits, i0, i1) & over(np.bitwise_or, bits, j0, j1)) != 0)
            first, last = over(np.minimum, low[column], i0, i1), over(np.maximum, high[column], i0, i1)
            some = some & (over(np.maximum, column, j0, j1) >= first) & (over(np.minimum, column, j0, j1) <= last)
        return some, np.zeros_like(some)

    return Constant(Pattern(see, corners=corners))


def over(extreme: np.ufunc, numbers: Array, start: Array, last: Array) -> Array:
    """Returns the least, the largest or all bits of the numbers from each start to each last one, in the shape of `start`."""
    ranges = zip(start.reshape(-1).tolist(), last.reshape(-1).tolist(), strict=True)
    return np.array([extreme.reduce(numbers[a : b + 1]) for a, b in ranges], np.int64).reshape(start.shape)


class Order(NamedTuple):
    """An order of the cells, the way back, and which cell then sees which."""

    order: Array
    back: Array
    seen: Pattern


class Saved(NamedTuple):
    """What the backward reads: arrays by kv head and the result as the grid has them; each row's largest score and sum are sorted."""

    order: Order
    scale: float
    shapes: list[tuple[int, ...]]
    arrays: list[Array]
    results: Results


def all_in_order(q: Array, k: Array, v: Array, order: Order, scale: float) -> Array:
    """Returns attention of cells that are sorted for the kernel, all heads at once."""
    return attention(*(x[..., order.order, :] for x in (q, k, v)), mask=order.seen, scale=scale)[..., order.back, :]


@once
@primitive
def attention_in_order(q: Array, k: Array, v: Array, order: Order, scale: float) -> tuple[Array, Saved]:
    """Returns what `all_in_order` returns, some heads at a time, and what the backward reads, which sorts once more."""
    out = np.empty((*q.shape[:-1], v.shape[-1]), q.dtype)
    arrays = [by_group(x, k.shape[-3]) for x in (q, k, v)]
    saved = Saved(order, scale, [x.shape for x in (q, k, v)], arrays, room_for(by_group(out, k.shape[-3])))
    parts = parts_of(saved)

    def solve(part: tuple[slice, Call]) -> None:
        some, call = part
        found = call.solved(call.blanked(*(gathered(x[some], order.order) for x in arrays)))
        put_back(saved.results.out[some], found.out, order)
        saved.results.tops[some], saved.results.totals[some] = found.tops, found.totals

    each_part(solve, parts, q.size)
    return out, saved


@attention_in_order.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array]:
    order, d_outs, parts = saved.order, d_out.reshape(saved.results.out.shape), parts_of(saved)
    made = {name: np.empty(x.shape, x.dtype) for name, x in zip("qkv", saved.arrays, strict=True)}

    def pull(part: tuple[slice, Call]) -> None:
        some, call = part
        arrays = call.blanked(*(gathered(x[some], order.order) for x in saved.arrays))
        results = Results(gathered(saved.results.out[some], order.order), saved.results.tops[some], saved.results.totals[some])
        found = call.pulled(arrays, gathered(d_outs[some], order.order), results, whole=True, beside=len(parts))
        for name, gradient in made.items():
            put_back(gradient[some], found.pop(name), order)

    each_part(pull, parts, d_out.size)
    return {name: x.reshape(shape) for (name, x), shape in zip(made.items(), saved.shapes, strict=True)}


def parts_of(saved: Saved) -> list[tuple[slice, Call]]:
    """Returns the kv heads of all texts, some at a time, each with its call; how they are cut depends on shapes alone."""
    q, k, v = saved.arrays
    options, calls, parts = Options(saved.order.seen, None, None, saved.scale, None, False), {}, []
    for some in some_of(len(q), q.size, TOGETHER):
        count = some.stop - some.start
        if count not in calls:
            calls[count] = call_of(options, q.dtype, *((count, *x.shape[1:]) for x in (q, k, v)))
        parts.append((some, calls[count]))
    return parts


def gathered(x: Array, order: Array) -> Array:
    """Returns x[..., order, :]."""
    return np.take(x, order, axis=-2, mode="clip")


def put_back(x: Array, rows: Array, order: Order) -> None:
    """Fills x with rows that were sorted."""
    np.take(rows, order.back, axis=-2, out=x, mode="clip")


def ends_of(axis: Axis) -> tuple[Array, Array]:
    """Returns the first and the last cell that each cell of an axis sees; a last before the first where it sees none."""
    near, seen = neighbours(axis)
    return np.where(seen, near, axis.length).min(axis=-1), np.where(seen, near, -1).max(axis=-1)
