"""Matrices so small that they stay in the first cache: products that pack nothing and touch no row beyond the last, and weights."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED, inlined
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import micro, micro_add, micro_in_numpy, micro_set
from tinyattn.kernels.tiles.vector import by_column, in_numpy

# Bytes that memory hands over at once.
LINE = 64
# Rows of the other micro tile: 49 rows are seven tiles of 7, where tiles of 8 alone would compute 56.
LESS = ROWS - 1


def ahead(_context: Any, x: Any, at: Any) -> Any:
    """Returns the intrinsic that asks memory for what stands at a place, and does not wait for it."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        place = builder.gep(context.make_array(x)(context, builder, arguments[0]).data, [arguments[1]])
        pointer, word = builder.bitcast(place, ir.IntType(8).as_pointer()), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, word, word, word])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(fetch, [pointer, *(ir.Constant(word, n) for n in (0, 3, 1))])  # to read, for the first cache, data
        return context.get_dummy_value()

    return types.void(x, at), generate


def ahead_in_numpy(_x: Any, _at: int) -> None:
    """Does nothing, for when nothing is compiled."""


def plus_step(builder: ir.IRBuilder, pair: list[ir.Value], _shift: ir.Value, total: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Returns the sum of two tiles; shift and total stand by."""
    return total, builder.fadd(*pair)


def weight_step(builder: ir.IRBuilder, x: ir.Value, shift: ir.Value, total: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Returns e ** (x - shift) times the number of the column that stands in the place of a total."""
    return total, builder.fmul(lanes.exp(builder, builder.fsub(x, shift)), total)


def column_plus_in_numpy(s: Any, other: Any, rows: int, width: int, _shift: Any, _total: Any) -> None:
    """Adds the other tile, for when nothing is compiled."""
    with np.errstate(all="ignore"):
        s[: rows * width] += other[: rows * width]


column_plus = column_plus_in_numpy if DISABLED else intrinsic(by_column(plus_step, two=True))
column_weight = (in_numpy(lambda tile, shift, total: (total, np.exp(tile - shift) * total)) if DISABLED
                 else intrinsic(by_column(weight_step)))
micro_set_less = micro_in_numpy(False, LESS) if DISABLED else intrinsic(micro(False, LESS))
micro_add_less = micro_in_numpy(True, LESS) if DISABLED else intrinsic(micro(True, LESS))
fetch = ahead_in_numpy if DISABLED else intrinsic(ahead)


@inlined
def micro_tiles(rows, columns, micro_columns):
    """Returns how many micro tiles a product is computed in."""
    return (rows + ROWS - 1) // ROWS * (columns // micro_columns)


@inlined
def lines_each(count, itemsize, tiles):
    """Returns how many lines of memory each of so many micro tiles fetches, so that all fetch `count` numbers."""
    return (count * itemsize + LINE * tiles - 1) // (LINE * tiles)


@inlined
def product_small(c, c_at, ldc, c_panel, a, a_at, a_row, a_col, b, b_at, ldb, b_panel, rows, columns, depth, micro_columns, together,
                  next_x, x_at, next_y, y_at, lines):
    """C = A B, as `product_set`, of at least ROWS rows; columns are whole micro tiles, and b_at and ldb say where B's rows stand.

    Rows are shared out in micro tiles of ROWS or one less; where they do not come out even the last one begins earlier.
    `together` products are summed before the sum is added to others. Meanwhile each micro tile fetches so many lines of
    two arrays that are wanted next: it hides a sixth of the time of windows of 49 tokens.
    """
    less, step, moved = min(-rows % ROWS, rows // LESS), LINE // c.itemsize, 0
    for column in range(0, columns, micro_columns):
        panel = column // micro_columns
        c_here, b_here, row = c_at + panel * c_panel, b_at + panel * b_panel, 0
        while row < rows:
            for _ in range(lines):
                fetch(next_x, x_at + moved)
                fetch(next_y, y_at + moved)
                moved += step
            if row < less * LESS:
                micro_set_less(c, c_here + row * ldc, ldc, a, a_at + row * a_row, a_row, a_col, b, b_here, ldb, min(depth, together))
                for start in range(together, depth, together):
                    micro_add_less(c, c_here + row * ldc, ldc, a, a_at + row * a_row + start * a_col, a_row, a_col,
                                   b, b_here + start * ldb, ldb, min(depth - start, together))
                row += LESS
            else:
                row = min(row, rows - ROWS)
                micro_set(c, c_here + row * ldc, ldc, a, a_at + row * a_row, a_row, a_col, b, b_here, ldb, min(depth, together))
                for start in range(together, depth, together):
                    micro_add(c, c_here + row * ldc, ldc, a, a_at + row * a_row + start * a_col, a_row, a_col,
                              b, b_here + start * ldb, ldb, min(depth - start, together))
                row += ROWS
