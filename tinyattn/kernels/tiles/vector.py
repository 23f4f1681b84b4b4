"""What a softmax does to a tile of scores, a register at a time: the largest of each column, exp and its sum, tanh.

A tile stands transposed, keys down and queries across, so that every reduction runs along a column: lane by lane,
with no step across lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED, inlined
from tinyattn.kernels.tiles.lanes import INT


def turn(_context: Any, target: Any, target_at: Any, width: Any, source: Any, source_at: Any, stride: Any, factor: Any,
         there: Any) -> Any:
    """Returns the intrinsic target[c][r] = factor source[r][c] of a square block as wide as a register; 0 from row `there` on.

    Step by step, halves, quarters, ... of neighbouring rows change places: log2(lanes) steps of one shuffle a row.
    """
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        into, into_at, wide, source_, at, stride_, factor_, there_ = arguments
        start = builder.gep(context.make_array(source)(context, builder, source_).data, [at])
        end = builder.gep(context.make_array(target)(context, builder, into).data, [into_at])
        count = vector.count
        by = lanes.splat(builder, factor_, vector)
        last, rows = builder.sub(there_, INT(1)), []
        for row in range(count):
            inside = builder.icmp_signed("<", INT(row), there_)
            read = builder.gep(start, [builder.mul(stride_, builder.select(inside, INT(row), last))])
            held = builder.fmul(lanes.load(builder, read, vector), by)
            rows.append(builder.select(inside, held, lanes.constant(vector, 0.0)))
        step = 1
        while step < count:
            stays = [lane if not lane & step else count + (lane ^ step) for lane in range(count)]
            comes = [lane | step if not lane & step else count + lane for lane in range(count)]
            for row in range(count):
                if not row & step:
                    pair = rows[row], rows[row | step]
                    rows[row], rows[row | step] = (lanes.shuffle(builder, *pair, order) for order in (stays, comes))
            step *= 2
        for column, value in enumerate(rows):
            lanes.store(builder, value, builder.gep(end, [builder.mul(wide, INT(column))]))
        return context.get_dummy_value()

    vector, size = lanes.vector_type(source.dtype), types.intp
    return types.void(target, size, size, source, size, size, source.dtype, size), generate


def turn_in_numpy(target: Any, target_at: int, width: int, source: Any, source_at: int, stride: int, factor: Any, there: int) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    side = np.arange(lanes.lanes(source.itemsize))
    row, place = side[:there], target_at + side[:, None] * width
    target[place + side] = 0
    target[place + row] = source[source_at + row * stride + side[:, None]] * factor


def scaled(_context: Any, target: Any, target_at: Any, source: Any, source_at: Any, factor: Any) -> Any:
    """Returns the intrinsic target[x] = factor source[x] of one row of a panel: as many columns as a micro tile has."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        into, into_at, source_, at, factor_ = arguments
        start = builder.gep(context.make_array(source)(context, builder, source_).data, [at])
        end = builder.gep(context.make_array(target)(context, builder, into).data, [into_at])
        by = lanes.splat(builder, factor_, vector)
        for part in range(lanes.VECTORS):
            step = [INT(part * vector.count)]
            row = builder.fmul(lanes.load(builder, builder.gep(start, step), vector), by)
            lanes.store(builder, row, builder.gep(end, step))
        return context.get_dummy_value()

    vector, size = lanes.vector_type(source.dtype), types.intp
    return types.void(target, size, source, size, source.dtype), generate


def scaled_in_numpy(target: Any, target_at: int, source: Any, source_at: int, factor: Any) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    count = lanes.columns(source.itemsize)
    target[target_at : target_at + count] = source[source_at : source_at + count] * factor


def by_column(step: Callable[..., tuple[ir.Value, ir.Value | None]], two: bool = False) -> Callable[..., Any]:
    """Returns the intrinsic (s, rows, width, shift, total): `step(builder, x, shift, total) -> total, new x or None`.

    s is a tile [rows][width], width a multiple of the lanes; shift and total hold one number a column. With `two` the
    intrinsic is (s, other, rows, width, shift, total), and x is a pair of registers, of the tile and of another like it.
    """
    def typed(_context: Any, *kinds: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            *tiles, rows, width, shift, total = arguments
            *tiles, shift, total = (context.make_array(array)(context, builder, value).data for value in (*tiles, shift, total))
            s = tiles[0]
            with cgutils.for_range(builder, builder.sdiv(width, INT(vector.count))) as part:
                column = builder.mul(part.index, INT(vector.count))
                moved = lanes.load(builder, builder.gep(shift, [column]), vector)
                kept = cgutils.alloca_once_value(builder, lanes.load(builder, builder.gep(total, [column]), vector))
                with cgutils.for_range(builder, rows) as row:
                    at = builder.add(builder.mul(row.index, width), column)
                    place = builder.gep(s, [at])
                    held = [lanes.load(builder, builder.gep(tile, [at]), vector) for tile in tiles]
                    new, x = step(builder, held if two else held[0], moved, builder.load(kept))
                    builder.store(new, kept)
                    if x is not None:
                        lanes.store(builder, x, place)
                lanes.store(builder, builder.load(kept), builder.gep(total, [column]))
            return context.get_dummy_value()

        array, size = kinds[0], types.intp
        vector = lanes.vector_type(array.dtype)
        return types.void(*kinds[: 1 + two], size, size, *kinds[-2:]), generate

    if two:
        return lambda context, s, other, rows, width, shift, total: typed(context, s, other, rows, width, shift, total)
    return lambda context, s, rows, width, shift, total: typed(context, s, rows, width, shift, total)


def max_step(builder: ir.IRBuilder, x: ir.Value, _shift: ir.Value, total: ir.Value) -> tuple[ir.Value, None]:
    """Returns the larger of x and what was largest so far."""
    return lanes.largest(builder, x, total), None


def exp_step(builder: ir.IRBuilder, x: ir.Value, shift: ir.Value, total: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Returns the sum so far with e ** (x - shift) added, and e ** (x - shift)."""
    power = lanes.exp(builder, builder.fsub(x, shift))
    return builder.fadd(total, power), power


def tanh_step(builder: ir.IRBuilder, x: ir.Value, shift: ir.Value, total: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Returns tanh x; shift and total stand by."""
    return total, lanes.tanh(builder, x)


def weighed_step(builder: ir.IRBuilder, pair: list[ir.Value], _shift: ir.Value, total: ir.Value) -> tuple[ir.Value, None]:
    """Returns the sum so far of the products of two tiles."""
    return lanes.multiply_add(builder, pair[0], pair[1], total), None


def slope_step(builder: ir.IRBuilder, pair: list[ir.Value], shift: ir.Value, total: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Returns (x - shift) times what the other tile holds: the slope of a softmax with these weights."""
    x, weight = pair
    return total, builder.fmul(weight, builder.fsub(x, shift))


def in_numpy(step: Callable[[Any, Any, Any], tuple[Any, Any]]) -> Callable[..., None]:
    """Returns the same in NumPy, for when nothing is compiled: `step(tile, shift, total) -> total, new tile`."""
    def run(s: Any, rows: int, width: int, shift: Any, total: Any) -> None:
        tile = s[: rows * width].reshape(rows, width)
        with np.errstate(all="ignore"):
            total[:width], tile[:] = step(tile, shift[:width], total[:width])

    return run


def exp_in_numpy(tile: Any, shift: Any, total: Any) -> tuple[Any, Any]:
    """Returns the totals with each column's sum of e ** (x - shift) added, and e ** (x - shift)."""
    powers = np.exp(tile - shift)
    return total + powers.sum(axis=0), powers


def column_weighed_in_numpy(s: Any, other: Any, rows: int, width: int, _shift: Any, total: Any) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    with np.errstate(all="ignore"):
        total[:width] += (s[: rows * width] * other[: rows * width]).reshape(rows, width).sum(axis=0)


def column_slope_in_numpy(s: Any, other: Any, rows: int, width: int, shift: Any, _total: Any) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    with np.errstate(all="ignore"):
        x = s[: rows * width].reshape(rows, width)
        x[:] = (x - shift[:width]) * other[: rows * width].reshape(rows, width)


if DISABLED:
    turn_block, scale_row = turn_in_numpy, scaled_in_numpy
    column_weighed, column_slope = column_weighed_in_numpy, column_slope_in_numpy
    column_max = in_numpy(lambda tile, _, total: (np.fmax(total, np.fmax.reduce(tile, axis=0, initial=-np.inf)), tile))
    column_exp = in_numpy(exp_in_numpy)
    column_tanh = in_numpy(lambda tile, _, total: (total, np.tanh(tile)))
else:
    turn_block, scale_row = intrinsic(turn), intrinsic(scaled)
    column_weighed, column_slope = (intrinsic(by_column(step, two=True)) for step in (weighed_step, slope_step))
    column_max, column_exp, column_tanh = (intrinsic(by_column(step)) for step in (max_step, exp_step, tanh_step))


@inlined
def transpose_rows(target, width, source, at, stride, rows, factor, block, panel):  # type: ignore[no-untyped-def]
    """Fills panels [width // panel][stride][panel] with factor times rows, turned: zeros in what is left of `width` rows.

    block is how many elements a register holds; stride is a multiple of it.
    """
    for r in range(0, rows, block):
        for c in range(0, stride, block):
            turn_block(target, (r // panel * stride + c) * panel + r % panel, panel, source, at + r * stride + c, stride, factor,
                       min(block, rows - r))
    for r in range((rows + block - 1) // block * block, width, block):
        for c in range(stride):
            for x in range(block):
                target[(r // panel * stride + c) * panel + r % panel + x] = 0


@inlined
def put_row(target, at, count, source, source_at, size, factor, panel):  # type: ignore[no-untyped-def]
    """Fills `count` elements with factor times a row that stands in panels, `size` from one to the next."""
    last = count - panel
    column, place = 0, source_at
    while column <= last:
        scale_row(target, at + column, source, place, factor)
        column += panel
        place += size
    for c in range(column, count):
        target[at + c] = source[place + c - column] * factor


@inlined
def put_rows(target, at, count, source, size, rows, factors, panel):  # type: ignore[no-untyped-def]
    """Fills rows of `count` elements with a factor of their own times rows that stand in panels [..][size][panel]."""
    for r in range(rows):
        put_row(target, at + r * count, count, source, r * panel, size * panel, factors[r], panel)


@inlined
def pack_rows(target, size, source, at, stride, rows, factor, panel):  # type: ignore[no-untyped-def]
    """Fills panels [stride // panel][size][panel] with factor times rows."""
    for column in range(0, stride, panel):
        for r in range(rows):
            scale_row(target, column * size + r * panel, source, at + r * stride + column, factor)
