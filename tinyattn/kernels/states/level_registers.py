"""Micro tiles of products with the states of levels: weighed by the rows as they are summed, and their slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels.states.code import Code
from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.kernels.tiles.lanes import INT, ROWS, VECTORS
from tinyattn.kernels.tiles.product import each_step


class Tile(Code):
    """Emits the product of one micro tile and what is done with its registers."""

    def along(self, place: ir.Value, step: ir.Value) -> list[list[ir.Value]]:
        """Returns the places of a micro tile's registers, row by row."""
        rows = [self.builder.gep(place, [self.builder.mul(step, INT(row))]) for row in range(ROWS)]
        return [[self.at(row, part) for part in range(VECTORS)] for row in rows]

    def full(self, place: ir.Value, row: int) -> ir.Value:
        """Returns a register full of one number."""
        return lanes.splat(self.builder, self.builder.load(self.builder.gep(place, [INT(row)])), self.vector)

    def product(self, a: ir.Value, a_row: ir.Value, b: ir.Value, b_row: ir.Value, depth: ir.Value) -> list[list[ir.Value]]:
        """Returns the registers of A B; the numbers of a row of A stand side by side."""
        builder = self.builder
        sums = [[cgutils.alloca_once_value(builder, lanes.constant(self.vector, 0.0)) for _ in range(VECTORS)] for _ in range(ROWS)]
        rows = [builder.gep(a, [builder.mul(a_row, INT(row))]) for row in range(ROWS)]

        def step(index: ir.Value) -> None:
            right = [self.load(builder.gep(b, [builder.mul(index, b_row)]), part) for part in range(VECTORS)]
            for row, line in zip(rows, sums, strict=True):
                left = lanes.splat(builder, builder.load(builder.gep(row, [index])), self.vector)
                for total, other in zip(line, right, strict=True):
                    builder.store(lanes.multiply_add(builder, left, other, builder.load(total)), total)

        each_step(builder, depth, step)
        return [[builder.load(total) for total in line] for line in sums]


def weighed(_context: Any, c: Any, c_at: Any, c_row: Any, a: Any, a_at: Any, a_row: Any, b: Any, b_at: Any, b_row: Any, depth: Any,
            weights: Any, weights_at: Any) -> Any:
    """Returns the intrinsic that adds weights[r] (A B)[r] to each row r of a micro tile of C."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        c_, c_place, c_step, a_, a_place, a_step, b_, b_place, b_step, depth_, weights_, weights_place = arguments
        tile = Tile(context, builder, c)
        into, by = tile.along(tile.start(c, c_, c_place), c_step), tile.start(weights, weights_, weights_place)
        sums = tile.product(tile.start(a, a_, a_place), a_step, tile.start(b, b_, b_place), b_step, depth_)
        for row, (line, places) in enumerate(zip(sums, into, strict=True)):
            factor = tile.full(by, row)
            for total, place in zip(line, places, strict=True):
                tile.store(lanes.multiply_add(builder, factor, total, tile.load(place)), place)
        return context.get_dummy_value()

    size = types.intp
    return types.void(c, size, size, a, size, size, b, size, size, size, weights, size), generate


def weighed_in_numpy(c: Any, c_at: int, c_row: int, a: Any, a_at: int, a_row: int, b: Any, b_at: int, b_row: int, depth: int,
                     weights: Any, weights_at: int) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    row, column, step = np.arange(ROWS)[:, None], np.arange(lanes.columns(c.itemsize)), np.arange(depth)
    with np.errstate(all="ignore"):
        sums = (a[a_at + row * a_row + step][:, :, None] * b[b_at + step[:, None] * b_row + column]).sum(axis=1)
        c[c_at + row * c_row + column] += weights[weights_at : weights_at + ROWS, None] * sums


def sloped(_context: Any, total: Any, c: Any, scaled: Any, x: Any, at: Any, row: Any, weights: Any, column: Any, a: Any, a_at: Any,
           a_row: Any, b: Any, b_at: Any, b_row: Any, depth: Any) -> Any:
    """Returns the intrinsic of the slopes of weighed columns w X, of which a micro tile of A B is the gradient.

    total += the sums over the rows of X (A B), C += w (A B), scaled = w X. C, X and scaled stand alike.
    """
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        total_, c_, scaled_, x_, at_, step, weights_, column_, a_, a_place, a_step, b_, b_place, b_step, depth_ = arguments
        tile = Tile(context, builder, c)
        sums = tile.product(tile.start(a, a_, a_place), a_step, tile.start(b, b_, b_place), b_step, depth_)
        into, put, held = (tile.along(tile.start(kind, array, at_), step) for kind, array in ((c, c_), (scaled, scaled_), (x, x_)))
        by, totals = tile.start(weights, weights_, column_), tile.start(total, total_, column_)
        for part in range(VECTORS):
            factor, found = tile.load(by, part), tile.load(totals, part)
            for line, places, others, given in zip(sums, into, put, held, strict=True):
                number = tile.load(given[part])
                found = lanes.multiply_add(builder, number, line[part], found)
                tile.store(lanes.multiply_add(builder, factor, line[part], tile.load(places[part])), places[part])
                tile.store(tile.times(factor, number), others[part])
            tile.store(found, totals, part)
        return context.get_dummy_value()

    size = types.intp
    return types.void(total, c, scaled, x, size, size, weights, size, a, size, size, b, size, size, size), generate


def sloped_in_numpy(total: Any, c: Any, scaled: Any, x: Any, at: int, row: int, weights: Any, column: int, a: Any, a_at: int,
                    a_row: int, b: Any, b_at: int, b_row: int, depth: int) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    rows, wide, step = np.arange(ROWS)[:, None], np.arange(lanes.columns(c.itemsize)), np.arange(depth)
    places, here = at + rows * row + wide, column + wide
    with np.errstate(all="ignore"):
        sums = (a[a_at + rows * a_row + step][:, :, None] * b[b_at + step[:, None] * b_row + wide]).sum(axis=1)
        total[here] += (x[places] * sums).sum(axis=0)
        c[places] += weights[here] * sums
        scaled[places] = weights[here] * x[places]


weigh_product = weighed_in_numpy if DISABLED else intrinsic(weighed)
slope_product = sloped_in_numpy if DISABLED else intrinsic(sloped)
