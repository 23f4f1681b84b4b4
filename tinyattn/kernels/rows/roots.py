"""The level of each query above whose negative its numbers have a weight: sums of columns of a tile, and steps of Newton."""
# mypy: disable-error-code="no-untyped-def"

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

# Steps of Newton at most: each halves what is left at least, and near the root squares it.
STEPS = 63


def sums(square: bool) -> Callable[..., Any]:
    """Returns the intrinsic (x, at, rows, width, level, total, slope) that adds up each column of a tile [rows][width] of x.

    With r = (x + level)_+, total gains the sum of r and slope the number of those above 0; with `square` the sums of r^2 and of r.
    NaN stays NaN.
    """
    def typed(_context: Any, x: Any, at: Any, rows: Any, width: Any, level: Any, total: Any, slope: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            x, at, rows, width, *columns = arguments
            start = builder.gep(context.make_array(array)(context, builder, x).data, [at])
            level, *sums = (context.make_array(array)(context, builder, column).data for column in columns)
            zero, one = lanes.constant(vector, 0.0), lanes.constant(vector, 1.0)
            with cgutils.for_range(builder, builder.sdiv(width, INT(vector.count))) as part:
                column = builder.mul(part.index, INT(vector.count))
                by = lanes.load(builder, builder.gep(level, [column]), vector)
                places = [builder.gep(base, [column]) for base in sums]
                total, slope = (cgutils.alloca_once_value(builder, lanes.load(builder, place, vector)) for place in places)
                with cgutils.for_range(builder, rows) as row:
                    place = builder.gep(start, [builder.add(builder.mul(row.index, width), column)])
                    root = builder.fadd(lanes.load(builder, place, vector), by)
                    root = builder.select(builder.fcmp_ordered("<", root, zero), zero, root)
                    if square:
                        builder.store(lanes.multiply_add(builder, root, root, builder.load(total)), total)
                        builder.store(builder.fadd(builder.load(slope), root), slope)
                    else:
                        builder.store(builder.fadd(builder.load(total), root), total)
                        counted = builder.select(builder.fcmp_ordered(">", root, zero), one, zero)
                        builder.store(builder.fadd(builder.load(slope), counted), slope)
                for kept, place in zip((total, slope), places, strict=True):
                    lanes.store(builder, builder.load(kept), place)
            return context.get_dummy_value()

        array, size = x, types.intp
        vector = lanes.vector_type(x.dtype)
        return types.void(x, size, size, size, level, total, slope), generate

    return typed


def sums_in_numpy(square: bool) -> Callable[..., None]:
    """Returns the same in NumPy, for when nothing is compiled."""
    def run(x: Any, at: int, rows: int, width: int, level: Any, total: Any, slope: Any) -> None:
        with np.errstate(all="ignore"):
            root = np.maximum(x[at : at + rows * width].reshape(rows, width) + level, 0)
            total += (root * root if square else root).sum(axis=0)
            slope += (root if square else root > 0).sum(axis=0)

    return run


sums_of_squares = sums_in_numpy(True) if DISABLED else intrinsic(sums(True))
sums_of_roots = sums_in_numpy(False) if DISABLED else intrinsic(sums(False))


@inlined
def find_levels(x, starts, keys, width, least, square, eps, level, total, slope, exact, exact_slope, moves):
    """Fills the level of each column for which the sum of its weights is 1; tile n of x has keys[n] rows from starts[n] on.

    The numbers of x are at most 0, so that the level is at most 1, and at least the `least` at which all of them together, were they
    0, had a sum of 1. The sum is convex: a step up from there goes too far, and the steps from there on down to the root. A column
    that has arrived stays where it is while others still move: near the root a step more changes the last digits, and whether
    another query has arrived depends on later keys.
    """
    kind, moving = x.dtype.type, True
    for i in range(width):
        level[i], moves[i] = least, 1.0
    for _ in range(STEPS):
        if not moving:
            break
        for i in range(width):
            exact[i] = exact_slope[i] = 0.0
        for n in range(keys.size):
            for i in range(width):
                total[i] = slope[i] = 0
            if square:
                sums_of_squares(x, starts[n], keys[n], width, level, total, slope)
            else:
                sums_of_roots(x, starts[n], keys[n], width, level, total, slope)
            for i in range(width):
                exact[i] += total[i]
                exact_slope[i] += slope[i]
        moving = False
        for i in range(width):
            if exact[i] != 0:
                change = moves[i] * (exact[i] - 1) / (2 * exact_slope[i] if square else exact_slope[i])
                level[i] = kind(min(level[i] - change, 1.0)) if change == change else kind(np.nan)
                far = abs(change) > 4 * eps * level[i]
                moves[i] = 1.0 if far else 0.0
                moving |= far
