"""The tile product, C = A B or C += A B: the one primitive under every kernel, its sums held in vector registers."""

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
from tinyattn.kernels.tiles.lanes import INT, ROWS, VECTORS

# Steps of the depth in one turn of the loop.
UNROLL = 4
# Products that a register sums before the sum is added to those of others: a sum of sums errs less than one long sum.
TOGETHER = 32
# Rows of a micro tile for products with few rows: half of the registers, none of them on padding.
FEW = 4


def each_step(builder: ir.IRBuilder, depth: ir.Value, step: Callable[[ir.Value], None]) -> None:
    """Writes a loop over the numbers below `depth`, of which UNROLL turns stand in a row; `step` writes the code of one turn."""
    turns = builder.sdiv(depth, INT(UNROLL))
    with cgutils.for_range(builder, turns) as turn:
        for part in range(UNROLL):
            step(builder.add(builder.mul(turn.index, INT(UNROLL)), INT(part)))
    done = builder.mul(turns, INT(UNROLL))
    with cgutils.for_range(builder, builder.sub(depth, done)) as rest:
        step(builder.add(done, rest.index))


def micro(accumulate: bool, rows: int = ROWS) -> Callable[..., Any]:
    """Returns the intrinsic (c, c_at, ldc, a, a_at, a_row, a_col, b, b_at, ldb, depth) for one micro tile of C.

    rows x VECTORS registers stay in the processor over the whole depth; each step loads VECTORS registers of a row of
    B and multiplies them with `rows` single elements of a column of A. What C holds is added last: a sum of sums is
    more accurate than one long sum.
    """
    def typed(_context: Any, c: Any, c_at: Any, ldc: Any, a: Any, a_at: Any, a_row: Any, a_col: Any, b: Any,
              b_at: Any, ldb: Any, depth: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            c, c_at, ldc, a, a_at, a_row, a_col, b, b_at, ldb, depth = arguments
            c, a, b = (builder.gep(context.make_array(array)(context, builder, value).data, [at])
                       for array, value, at in zip(arrays, (c, a, b), (c_at, a_at, b_at), strict=True))
            places = [[builder.gep(c, [builder.add(builder.mul(ldc, INT(row)), INT(column * vector.count))])
                       for column in range(VECTORS)] for row in range(rows)]
            sums = [[cgutils.alloca_once_value(builder, lanes.constant(vector, 0.0)) for _ in line] for line in places]

            def step(index: ir.Value) -> None:
                row_b, column_a = (builder.gep(x, [builder.mul(index, stride)]) for x, stride in ((b, ldb), (a, a_col)))
                right = [lanes.load(builder, builder.gep(row_b, [INT(column * vector.count)]), vector)
                         for column in range(VECTORS)]
                for row, line in enumerate(sums):
                    element = builder.load(builder.gep(column_a, [builder.mul(a_row, INT(row))]))
                    left = lanes.splat(builder, element, vector)
                    for total, other in zip(line, right, strict=True):
                        builder.store(lanes.multiply_add(builder, left, other, builder.load(total)), total)

            each_step(builder, depth, step)
            for line, starts in zip(sums, places, strict=True):
                for total, place in zip(line, starts, strict=True):
                    gained = builder.load(total)
                    if accumulate:
                        gained = builder.fadd(lanes.load(builder, place, vector), gained)
                    lanes.store(builder, gained, place)
            return context.get_dummy_value()

        vector, arrays, size = lanes.vector_type(c.dtype), (c, a, b), types.intp
        return types.void(c, size, size, a, size, size, size, b, size, size, size), generate

    return typed


def micro_in_numpy(accumulate: bool, rows: int = ROWS) -> Callable[..., None]:
    """Returns the same in NumPy, for when nothing is compiled."""
    def add(c: Any, c_at: int, ldc: int, a: Any, a_at: int, a_row: int, a_col: int, b: Any, b_at: int, ldb: int,
            depth: int) -> None:
        row, column, step = np.arange(rows)[:, None], np.arange(lanes.columns(c.itemsize)), np.arange(depth)
        place = c_at + row * ldc + column
        left, right = a[a_at + row * a_row + step * a_col], b[b_at + step[:, None] * ldb + column]
        with np.errstate(all="ignore"):
            gained = (left[:, :, None] * right).sum(axis=1)
            c[place] = c[place] + gained if accumulate else gained

    return add


micro_add = micro_in_numpy(True) if DISABLED else intrinsic(micro(True))
micro_few = micro_in_numpy(True, FEW) if DISABLED else intrinsic(micro(True, FEW))
micro_set = micro_in_numpy(False) if DISABLED else intrinsic(micro(False))


@inlined
def product_add(c, c_at, ldc, c_panel, a, a_at, a_row, a_col, b, b_panel, rows, columns, depth, micro_columns, below, above):  # type: ignore[no-untyped-def]
    """C[rows, columns] += A[rows, depth] B[depth, columns] on flat arrays: places and strides count elements.

    Rows and columns are rounded up to whole micro tiles. B stands in panels, [columns // micro_columns][..][micro_columns],
    b_panel from one to the next, as does C, c_panel from one to the next: a panel of B, all in a row, stays in the first
    cache while the rows of A pass by. Of row r of A only the steps r + below to r + above are taken: the others are 0.
    """
    for column in range(0, columns, micro_columns):
        panel = column // micro_columns
        for row in range(0, rows, ROWS):
            start, stop = max(0, row + below), min(depth, row + ROWS + above)
            micro_add(c, c_at + row * ldc + panel * c_panel, ldc, a, a_at + row * a_row + start * a_col, a_row, a_col,
                      b, panel * b_panel + start * micro_columns, micro_columns, stop - start)


@inlined
def product_add_within(c, c_at, ldc, spare, a, a_at, a_row, a_col, b, b_panel, rows, columns, depth, micro_columns, below, above):  # type: ignore[no-untyped-def]
    """C += A B, as `product_add` on C whose panels stand side by side, and no row after the last is written to.

    A micro tile that reaches beyond is computed in `spare`, and the rows that there are are added to C.
    """
    whole = rows // ROWS * ROWS
    product_add(c, c_at, ldc, micro_columns, a, a_at, a_row, a_col, b, b_panel, whole, columns, depth, micro_columns, below, above)
    if whole == rows:
        return
    start, stop = max(0, whole + below), min(depth, rows + above)
    for column in range(0, columns, micro_columns):
        micro_set(spare, 0, micro_columns, a, a_at + whole * a_row + start * a_col, a_row, a_col, b,
                  column // micro_columns * b_panel + start * micro_columns, micro_columns, stop - start)
        for row in range(rows - whole):
            into, out_of = np.uintp(c_at + (whole + row) * ldc + column), np.uintp(row * micro_columns)
            for x in range(np.uintp(micro_columns)):
                c[into + x] += spare[out_of + x]


@inlined
def product_set(c, c_at, ldc, c_panel, a, a_at, a_row, a_col, b, b_panel, rows, columns, depth, micro_columns, below, above):  # type: ignore[no-untyped-def]
    """C = A B, as `product_add`; of row r of C only the columns r + below to r + above are needed, and others may be left.

    Of ROWS rows or more the last micro tile begins earlier than in its turn, so that no row after the last is read.
    """
    last = max(0, rows - ROWS)
    for column in range(0, columns, micro_columns):
        panel = column // micro_columns
        for begin in range(max(0, column - above) // ROWS * ROWS, min(rows, column + micro_columns - below), ROWS):
            row = min(begin, last)
            micro_set(c, c_at + row * ldc + panel * c_panel, ldc, a, a_at + row * a_row, a_row, a_col, b, panel * b_panel,
                      micro_columns, min(depth, TOGETHER))
            for start in range(TOGETHER, depth, TOGETHER):
                micro_add(c, c_at + row * ldc + panel * c_panel, ldc, a, a_at + row * a_row + start * a_col, a_row, a_col,
                          b, panel * b_panel + start * micro_columns, micro_columns, min(depth - start, TOGETHER))


@inlined
def product_add_few(c, c_at, ldc, a, a_at, a_row, a_col, b, b_at, ldb, rows, columns, depth, micro_columns):  # type: ignore[no-untyped-def]
    """C += A B, as `product_add`, with rows rounded up to FEW."""
    for column in range(0, columns, micro_columns):
        for row in range(0, rows, FEW):
            micro_few(c, c_at + row * ldc + column, ldc, a, a_at + row * a_row, a_row, a_col, b, b_at + column, ldb, depth)
