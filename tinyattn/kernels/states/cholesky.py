"""Cholesky factors of many matrices at a time, one per lane of a register: no step waits for a single division or root.

A lower triangle stands in panels of SIDE rows, [panel][column][row of the panel][lane], each panel as wide as its last row is long.
Vectors stand as [row][lane].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels.states.code import Code
from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED, inlined
from tinyattn.kernels.tiles.lanes import INT

# Rows of a panel, and columns of a tile below the diagonal: its sums and what is loaded for them fill the registers.
SIDE = 4
COLUMNS = 4 if lanes.REGISTERS == 32 else 2


def below(_context: Any, factor: Any, matrix: Any, fading: Any, weighed: Any, keys: Any, inverse: Any, panel: Any, row: Any,
          across: Any, column: Any) -> Any:
    """Returns the intrinsic that updates a tile of the matrices, left of the diagonal, and fills that of their factors.

    M becomes fading M + weighed keys^T in rows `row` on and columns `column` on, and L = (M - L L^T) / (L of the columns)^T.
    The panel of the rows begins at `panel`, that of the rows that are numbered like the columns at `across`.
    """
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        factor_, matrix_, fading_, weighed_, keys_, inverse_, panel_, row_, across_, column_ = arguments
        code = Code(context, builder, factor)
        rows, columns = range(SIDE), range(COLUMNS)
        far = builder.mul(column_, INT(SIDE))
        mine, held = code.start(factor, factor_, panel_), code.start(matrix, matrix_, panel_)
        other = code.at(code.start(factor, factor_, across_), builder.srem(column_, INT(SIDE)))
        told, along = code.at(code.start(weighed, weighed_), row_), code.at(code.start(keys, keys_), column_)
        by, sums = code.load(code.start(fading, fading_)), []
        weights = [code.load(told, r) for r in rows]
        for c in columns:
            key = code.load(along, c)
            for r in rows:
                new = lanes.multiply_add(builder, weights[r], key, code.times(by, code.load(held, far, c * SIDE + r)))
                code.store(new, held, far, c * SIDE + r)
                sums.append(new)

        def step(k: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            place = builder.mul(k, INT(SIDE))
            left, right = [code.load(mine, place, r) for r in rows], [code.load(other, place, c) for c in columns]
            return [lanes.multiply_add(builder, left[r], right[c], totals[c * SIDE + r]) for c in columns for r in rows]

        sums = code.without(sums, column_, step)
        diagonal = code.at(code.start(inverse, inverse_), column_)
        for c in columns:
            for r in rows:
                total = sums[c * SIDE + r]
                for before in range(c):
                    total = code.less(total, sums[before * SIDE + r], code.load(other, far, before * SIDE + c))
                sums[c * SIDE + r] = code.times(total, code.load(diagonal, c))
                code.store(sums[c * SIDE + r], mine, far, c * SIDE + r)
        return context.get_dummy_value()

    size = types.intp
    return types.void(factor, matrix, fading, weighed, keys, inverse, size, size, size, size), generate


def diagonal(_context: Any, factor: Any, matrix: Any, fading: Any, weighed: Any, keys: Any, inverse: Any, ridge: Any, least: Any,
             panel: Any, row: Any) -> Any:
    """Returns the intrinsic of a tile on the diagonal: M as in `below`, L the factor of M + ridge - L L^T, and 1 / L on the diagonal.

    `least` keeps the least number of which a root was taken; NaN is not less than another.
    """
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        factor_, matrix_, fading_, weighed_, keys_, inverse_, ridge_, least_, panel_, row_ = arguments
        code = Code(context, builder, factor)
        places = [(r, c) for c in range(SIDE) for r in range(c, SIDE)]
        far = builder.mul(row_, INT(SIDE))
        mine, held = code.start(factor, factor_, panel_), code.start(matrix, matrix_, panel_)
        told, along, added, roots = (code.at(code.start(kind, array), row_) for kind, array in
                                     ((weighed, weighed_), (keys, keys_), (ridge, ridge_), (inverse, inverse_)))
        by, sums = code.load(code.start(fading, fading_)), []
        for r, c in places:
            new = lanes.multiply_add(builder, code.load(told, r), code.load(along, c),
                                     code.times(by, code.load(held, far, c * SIDE + r)))
            code.store(new, held, far, c * SIDE + r)
            sums.append(builder.fadd(new, code.load(added, r)) if r == c else new)

        def step(k: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            left = [code.load(mine, builder.mul(k, INT(SIDE)), r) for r in range(SIDE)]
            return [lanes.multiply_add(builder, left[r], left[c], total) for total, (r, c) in zip(totals, places, strict=True)]

        tile = dict(zip(places, code.without(sums, row_, step), strict=True))
        root = cgutils.get_or_insert_function(builder.module, ir.FunctionType(code.vector, [code.vector]),
                                              f"llvm.sqrt.v{code.vector.count}f{8 * lanes.itemsize(code.vector)}")
        lowest = code.load(code.start(least, least_))
        for c in range(SIDE):
            pivot = tile[c, c]
            lowest = builder.select(builder.fcmp_ordered("<", pivot, lowest), pivot, lowest)
            turned = builder.fdiv(lanes.constant(code.vector, 1.0), builder.call(root, [pivot]))
            code.store(turned, roots, c)
            for r in range(c + 1, SIDE):
                tile[r, c] = code.times(tile[r, c], turned)
                code.store(tile[r, c], mine, far, c * SIDE + r)
            for later in range(c + 1, SIDE):
                for r in range(later, SIDE):
                    tile[r, later] = code.less(tile[r, later], tile[r, c], tile[later, c])
        code.store(lowest, code.start(least, least_))
        return context.get_dummy_value()

    size = types.intp
    return types.void(factor, matrix, fading, weighed, keys, inverse, ridge, least, size, size), generate


def down(_context: Any, x: Any, x_at: Any, factor: Any, inverse: Any, panel: Any, row: Any) -> Any:
    """Returns the intrinsic that replaces rows `row` on of the vectors x, L^-1 x before them, by theirs of L^-1 x."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        x_, x_at_, factor_, inverse_, panel_, row_ = arguments
        code = Code(context, builder, factor)
        mine, start, far = code.start(factor, factor_, panel_), code.start(x, x_, x_at_), builder.mul(row_, INT(SIDE))
        roots = code.at(code.start(inverse, inverse_), row_)

        def step(k: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
            known, place = code.load(start, k), builder.mul(k, INT(SIDE))
            return [lanes.multiply_add(builder, code.load(mine, place, r), known, total) for r, total in enumerate(totals)]

        sums = code.without([code.load(start, row_, r) for r in range(SIDE)], row_, step)
        for r in range(SIDE):
            for before in range(r):
                sums[r] = code.less(sums[r], sums[before], code.load(mine, far, before * SIDE + r))
            sums[r] = code.times(sums[r], code.load(roots, r))
            code.store(sums[r], start, row_, r)
        return context.get_dummy_value()

    size = types.intp
    return types.void(x, size, factor, inverse, size, size), generate


def up(_context: Any, x: Any, x_at: Any, factor: Any, inverse: Any, panel: Any, row: Any) -> Any:
    """Returns the intrinsic that replaces rows `row` on of the vectors x by theirs of L^-T x, and takes them off the rows before."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        x_, x_at_, factor_, inverse_, panel_, row_ = arguments
        code = Code(context, builder, factor)
        mine, start, far = code.start(factor, factor_, panel_), code.start(x, x_, x_at_), builder.mul(row_, INT(SIDE))
        roots = code.at(code.start(inverse, inverse_), row_)
        known = [code.load(start, row_, r) for r in range(SIDE)]
        for r in reversed(range(SIDE)):
            for after in range(r + 1, SIDE):
                known[r] = code.less(known[r], known[after], code.load(mine, far, r * SIDE + after))
            known[r] = code.times(known[r], code.load(roots, r))
            code.store(known[r], start, row_, r)
        with cgutils.for_range(builder, row_) as turn:
            total, place = code.load(start, turn.index), builder.mul(turn.index, INT(SIDE))
            for r in range(SIDE):
                total = code.less(total, code.load(mine, place, r), known[r])
            code.store(total, start, turn.index)
        return context.get_dummy_value()

    size = types.intp
    return types.void(x, size, factor, inverse, size, size), generate


def panel_in_numpy(x: Any, panel: int, row: int) -> Any:
    """Returns the panel of the rows `row` on as [column][row of the panel][lane]."""
    size = SIDE * lanes.lanes(x.itemsize)
    return x[panel : panel + (row + SIDE) * size].reshape(row + SIDE, SIDE, -1)


def vectors_in_numpy(*vectors: Any) -> list[Any]:
    """Returns vectors as [row][lane]."""
    return [x.reshape(-1, lanes.lanes(x.itemsize)) for x in vectors]


def below_in_numpy(factor: Any, matrix: Any, fading: Any, weighed: Any, keys: Any, inverse: Any, panel: int, row: int, across: int,
                   column: int) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    mine, held, other = (panel_in_numpy(x, *place) for x, place in
                         ((factor, (panel, row)), (matrix, (panel, row)), (factor, (across, column // SIDE * SIDE))))
    key, weight, roots = vectors_in_numpy(keys, weighed, inverse)
    with np.errstate(all="ignore"):
        for c in range(column, column + COLUMNS):
            held[c] = fading * held[c] + weight[row : row + SIDE] * key[c]
            mine[c] = (held[c] - (mine[:c] * other[:c, c % SIDE, None]).sum(axis=0)) * roots[c]


def diagonal_in_numpy(factor: Any, matrix: Any, fading: Any, weighed: Any, keys: Any, inverse: Any, ridge: Any, least: Any, panel: int,
                      row: int) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    mine, held = (panel_in_numpy(x, panel, row) for x in (factor, matrix))
    key, weight, roots, added = vectors_in_numpy(keys, weighed, inverse, ridge)
    with np.errstate(all="ignore"):
        for r in range(SIDE):
            c = row + r
            held[c, r:] = fading * held[c, r:] + weight[c : row + SIDE] * key[c]
            total = held[c, r:] - (mine[:c, r:] * mine[:c, r, None]).sum(axis=0)
            total[0] += added[c]
            np.copyto(least, total[0], where=total[0] < least)
            roots[c] = 1 / np.sqrt(total[0])
            mine[c, r + 1 :] = total[1:] * roots[c]


def down_in_numpy(x: Any, x_at: int, factor: Any, inverse: Any, panel: int, row: int) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    mine, (told, roots) = panel_in_numpy(factor, panel, row), vectors_in_numpy(x[x_at:], inverse)
    with np.errstate(all="ignore"):
        for r in range(SIDE):
            told[row + r] = (told[row + r] - (mine[: row + r, r] * told[: row + r]).sum(axis=0)) * roots[row + r]


def up_in_numpy(x: Any, x_at: int, factor: Any, inverse: Any, panel: int, row: int) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    mine, (told, roots) = panel_in_numpy(factor, panel, row), vectors_in_numpy(x[x_at:], inverse)
    with np.errstate(all="ignore"):
        for r in reversed(range(SIDE)):
            told[row + r] *= roots[row + r]
            told[: row + r] -= mine[: row + r, r] * told[row + r]


if DISABLED:
    below_tile, diagonal_tile, down_panel, up_panel = below_in_numpy, diagonal_in_numpy, down_in_numpy, up_in_numpy
else:
    below_tile, diagonal_tile, down_panel, up_panel = intrinsic(below), intrinsic(diagonal), intrinsic(down), intrinsic(up)


@inlined
def panel_of(row, count):  # type: ignore[no-untyped-def]
    """Returns where the panel of the rows `row` on begins, with `count` lanes."""
    return row // SIDE * (row // SIDE + 1) // 2 * SIDE * SIDE * count


@inlined
def factorise(factor, matrix, fading, weighed, keys, inverse, ridge, least, dim, count):  # type: ignore[no-untyped-def]
    """Replaces M by fading M + weighed keys^T and fills the factors of M + ridge, which has `dim` rows, whole panels."""
    for row in range(0, dim, SIDE):
        panel = panel_of(row, count)
        for column in range(0, row, COLUMNS):
            below_tile(factor, matrix, fading, weighed, keys, inverse, panel, row, panel_of(column, count), column)
        diagonal_tile(factor, matrix, fading, weighed, keys, inverse, ridge, least, panel, row)


@inlined
def substitute(x, x_at, factor, inverse, dim, count):  # type: ignore[no-untyped-def]
    """Replaces the vectors x that begin at x_at by (L L^T)^-1 x."""
    for row in range(0, dim, SIDE):
        down_panel(x, x_at, factor, inverse, panel_of(row, count), row)
    for row in range(dim - SIDE, -1, -SIDE):
        up_panel(x, x_at, factor, inverse, panel_of(row, count), row)
