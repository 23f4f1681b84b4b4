"""Steps on rows of a micro tile that stay in registers: a triangle kept, a small system solved."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.kernels.tiles.lanes import INT, ROWS


def kept(_context: Any, target: Any, target_at: Any, factors: Any, factors_at: Any, factor: Any, count: Any) -> Any:
    """Returns the intrinsic that scales the first `count` numbers of a micro tile's row by factor and factors and clears the rest.

    What is cleared is never multiplied, as 0 times what is not finite is NaN.
    """
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        into, into_at, others, others_at, factor_, count_ = arguments
        start = builder.gep(context.make_array(target)(context, builder, into).data, [into_at])
        other = builder.gep(context.make_array(factors)(context, builder, others).data, [others_at])
        by, whole = lanes.splat(builder, factor_, vector), ir.VectorType(INT, vector.count)
        most = lanes.splat(builder, count_, whole)
        for part in range(lanes.VECTORS):
            step = [INT(part * vector.count)]
            place = builder.gep(start, step)
            scaled = builder.fmul(lanes.load(builder, place, vector),
                                  builder.fmul(lanes.load(builder, builder.gep(other, step), vector), by))
            index = ir.Constant(whole, [part * vector.count + lane for lane in range(vector.count)])
            lanes.store(builder, builder.select(builder.icmp_signed("<", index, most), scaled, lanes.constant(vector, 0.0)), place)
        return context.get_dummy_value()

    vector, size = lanes.vector_type(target.dtype), types.intp
    return types.void(target, size, factors, size, target.dtype, size), generate


def kept_in_numpy(target: Any, target_at: int, factors: Any, factors_at: int, factor: Any, count: int) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    width = lanes.columns(target.itemsize)
    some = max(0, min(width, count))
    with np.errstate(all="ignore"):
        target[target_at : target_at + some] *= factors[factors_at : factors_at + some] * factor
    target[target_at + some : target_at + width] = 0


def solved(_context: Any, x: Any, x_at: Any, x_row: Any, lower: Any, lower_at: Any, lower_row: Any, lower_column: Any) -> Any:
    """Returns the intrinsic that replaces the ROWS rows x of a micro tile by y, y_r = x_r + sum_{s < r} lower_rs y_s.

    Strides may be negative: a system is then solved from its last row on.
    """
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        x_, at, row, lower_, first, down, right = arguments
        start = builder.gep(context.make_array(x)(context, builder, x_).data, [at])
        corner = builder.gep(context.make_array(lower)(context, builder, lower_).data, [first])
        places = [[builder.gep(start, [builder.add(builder.mul(row, INT(r)), INT(part * vector.count))])
                   for part in range(lanes.VECTORS)] for r in range(ROWS)]
        rows = [[lanes.load(builder, place, vector) for place in line] for line in places]
        for s in range(ROWS):
            for r in range(s + 1, ROWS):
                place = builder.gep(corner, [builder.add(builder.mul(down, INT(r)), builder.mul(right, INT(s)))])
                factor = lanes.splat(builder, builder.load(place), vector)
                rows[r] = [lanes.multiply_add(builder, factor, other, total) for other, total in zip(rows[s], rows[r], strict=True)]
        for line, starts in zip(rows, places, strict=True):
            for value, place in zip(line, starts, strict=True):
                lanes.store(builder, value, place)
        return context.get_dummy_value()

    vector, size = lanes.vector_type(x.dtype), types.intp
    return types.void(x, size, size, lower, size, size, size), generate


def solved_in_numpy(x: Any, x_at: int, x_row: int, lower: Any, lower_at: int, lower_row: int, lower_column: int) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    rows = x_at + np.arange(ROWS)[:, None] * x_row + np.arange(lanes.columns(x.itemsize))
    with np.errstate(all="ignore"):
        for r in range(1, ROWS):
            x[rows[r]] += lower[lower_at + r * lower_row + np.arange(r) * lower_column] @ x[rows[:r]]


keep_row = kept_in_numpy if DISABLED else intrinsic(kept)
solve_rows = solved_in_numpy if DISABLED else intrinsic(solved)
