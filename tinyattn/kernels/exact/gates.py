"""Contextual positions a register at a time: gates and their running sums, and reading and writing between two positions.

Tiles stand transposed, [key][query], as do the tables, [position][query]. A place is a distance from a position of each query's own,
`at`, which says where in the table the query has that position.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.kernels.tiles.lanes import INT

WORD = ir.IntType(32)


def sigmoid(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns 1 / (1 + e ** -x), from a power of e that is at most 1."""
    positive = builder.fcmp_ordered(">=", x, lanes.constant(x.type, 0.0))
    power = lanes.exp(builder, builder.select(positive, builder.fsub(lanes.constant(x.type, 0.0), x), x))
    one = lanes.constant(x.type, 1.0)
    return builder.fdiv(builder.select(positive, one, power), builder.fadd(one, power))


def words(builder: ir.IRBuilder, pointer: ir.Value, vector: ir.VectorType) -> ir.Value:
    """Returns as many whole numbers as a register of the tile holds."""
    return builder.load(builder.bitcast(pointer, ir.VectorType(WORD, vector.count).as_pointer()), align=4)


def around(builder: ir.IRBuilder, place: ir.Value, at: ir.Value, width: ir.Value) -> tuple[ir.Value, list[ir.Value]]:
    """Returns how far each place is from the position below it, and where each lane has that position in a table."""
    low = builder.fptosi(place, at.type)
    index = builder.add(builder.mul(low, lanes.splat(builder, builder.trunc(width, WORD), at.type)), at)
    places = [builder.sext(builder.extract_element(index, WORD(lane)), INT) for lane in range(at.type.count)]
    return builder.fsub(place, builder.sitofp(low, place.type)), places


def read(builder: ir.IRBuilder, table: ir.Value, places: list[ir.Value], vector: ir.VectorType) -> ir.Value:
    """Returns a register of numbers that stand apart: one load per lane takes half the time of AVX-512's own instruction for it."""
    held = ir.Constant(vector, ir.Undefined)
    for lane, place in enumerate(places):
        held = builder.insert_element(held, builder.load(builder.gep(table, [place])), WORD(lane))
    return held


def add(builder: ir.IRBuilder, table: ir.Value, places: list[ir.Value], x: ir.Value) -> None:
    """Adds each lane to a number of its own."""
    for lane, place in enumerate(places):
        pointer = builder.gep(table, [place])
        builder.store(builder.fadd(builder.load(pointer), builder.extract_element(x, WORD(lane))), pointer)


def pointers(context: Any, builder: ir.IRBuilder, kinds: Any, arguments: Any) -> list[ir.Value]:
    """Returns where arrays begin."""
    return [context.make_array(kind)(context, builder, value).data for kind, value in zip(kinds, arguments, strict=True)]


def counted(_context: Any, s: Any, g: Any, c: Any, run: Any, factor: Any, keys: Any, width: Any) -> Any:
    """Returns the intrinsic that fills g with the sigmoids of factor s, c with their sums from a key on, and run with those of all."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        *arrays, factor_, keys_, width_ = arguments
        scores, gates, sums, totals = pointers(context, builder, kinds, arrays)
        by = lanes.splat(builder, factor_, vector)
        with cgutils.for_range(builder, builder.sdiv(width_, INT(vector.count))) as part:
            column = builder.mul(part.index, INT(vector.count))
            total = cgutils.alloca_once_value(builder, lanes.constant(vector, 0.0))
            with cgutils.for_range(builder, keys_) as turn:
                key = builder.sub(builder.sub(keys_, INT(1)), turn.index)
                at = [builder.add(builder.mul(key, width_), column)]
                gate = sigmoid(builder, builder.fmul(by, lanes.load(builder, builder.gep(scores, at), vector)))
                lanes.store(builder, gate, builder.gep(gates, at))
                builder.store(builder.fadd(builder.load(total), gate), total)
                lanes.store(builder, builder.load(total), builder.gep(sums, at))
            lanes.store(builder, builder.load(total), builder.gep(totals, [column]))
        return context.get_dummy_value()

    kinds, vector = (s, g, c, run), lanes.vector_type(s.dtype)
    return types.void(*kinds, factor, types.intp, types.intp), generate


def between(_context: Any, s: Any, c: Any, table: Any, at: Any, start: Any, limit: Any, keys: Any, width: Any) -> Any:
    """Returns the intrinsic that makes places of the sums in c, start + c up to limit, and adds to s what the table has there."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        *arrays, keys_, width_ = arguments
        scores, sums, numbers, own, starts, limits = pointers(context, builder, kinds, arrays)
        with cgutils.for_range(builder, builder.sdiv(width_, INT(vector.count))) as part:
            column = builder.mul(part.index, INT(vector.count))
            begin, most = (lanes.load(builder, builder.gep(x, [column]), vector) for x in (starts, limits))
            here = words(builder, builder.gep(own, [column]), vector)
            with cgutils.for_range(builder, keys_) as key:
                at = [builder.add(builder.mul(key.index, width_), column)]
                place = builder.fadd(begin, lanes.load(builder, builder.gep(sums, at), vector))
                place = builder.select(builder.fcmp_ordered("<", place, most), place, most)  # NaN too is the last position
                lanes.store(builder, place, builder.gep(sums, at))
                share, places = around(builder, place, here, width_)
                below, above = (read(builder, x, places, vector) for x in (numbers, builder.gep(numbers, [width_])))
                bias = lanes.multiply_add(builder, share, builder.fsub(above, below), below)
                score = builder.gep(scores, at)
                lanes.store(builder, builder.fadd(lanes.load(builder, score, vector), bias), score)
        return context.get_dummy_value()

    kinds, vector = (s, c, table, at, start, limit), lanes.vector_type(s.dtype)
    return types.void(*kinds, types.intp, types.intp), generate


def sloped(_context: Any, d_s: Any, c: Any, g: Any, table: Any, d_table: Any, at: Any, carry: Any, keys: Any, width: Any) -> Any:
    """Returns the intrinsic of the gradients of `between`: d_s is added to d_table, and g replaced by those of the gates' arguments.

    The gradient of a gate is the sum of those of the places at this key and at earlier ones, `carry` before the tile.
    """
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        *arrays, keys_, width_ = arguments
        slopes, spots, gates, numbers, d_numbers, own, carries = pointers(context, builder, kinds, arrays)
        with cgutils.for_range(builder, builder.sdiv(width_, INT(vector.count))) as part:
            column = builder.mul(part.index, INT(vector.count))
            here, carried = words(builder, builder.gep(own, [column]), vector), builder.gep(carries, [column])
            before = lanes.load(builder, carried, vector)
            total = cgutils.alloca_once_value(builder, lanes.constant(vector, 0.0))
            with cgutils.for_range(builder, keys_) as key:
                at = [builder.add(builder.mul(key.index, width_), column)]
                slope, place = (lanes.load(builder, builder.gep(x, at), vector) for x in (slopes, spots))
                share, places = around(builder, place, here, width_)
                below, above = (read(builder, x, places, vector) for x in (numbers, builder.gep(numbers, [width_])))
                part_above = builder.fmul(slope, share)
                add(builder, d_numbers, places, builder.fsub(slope, part_above))
                add(builder, builder.gep(d_numbers, [width_]), places, part_above)
                builder.store(lanes.multiply_add(builder, slope, builder.fsub(above, below), builder.load(total)), total)
                spot = builder.gep(gates, at)
                gate = lanes.load(builder, spot, vector)
                closing = builder.fmul(gate, builder.fsub(lanes.constant(vector, 1.0), gate))
                lanes.store(builder, builder.fmul(builder.fadd(before, builder.load(total)), closing), spot)
            lanes.store(builder, builder.fadd(before, builder.load(total)), carried)
        return context.get_dummy_value()

    kinds, vector = (d_s, c, g, table, d_table, at, carry), lanes.vector_type(d_s.dtype)
    return types.void(*kinds, types.intp, types.intp), generate



def counted_in_numpy(s: Any, g: Any, c: Any, run: Any, factor: Any, keys: int, width: int) -> None:
    """Does the same in NumPy, for when nothing is compiled."""
    with np.errstate(all="ignore"):
        x = factor * s[: keys * width]
        power = np.exp(-abs(x))
        gates = (np.where(x >= 0, s.dtype.type(1), power) / (1 + power)).reshape(keys, width)
    sums = np.cumsum(gates[::-1], axis=0)[::-1]
    g[: keys * width], c[: keys * width], run[:width] = gates.reshape(-1), sums.reshape(-1), sums[0]


def around_in_numpy(c: Any, at: Any, keys: int, width: int) -> tuple[Any, Any]:
    """Returns what `around` returns, for all places of a tile."""
    place = c[: keys * width].reshape(keys, width)
    low = place.astype(np.int64)
    return place - low.astype(c.dtype), low * width + at[:width]


def between_in_numpy(s: Any, c: Any, table: Any, at: Any, start: Any, limit: Any, keys: int, width: int) -> None:
    """Does the same in NumPy, for when nothing is compiled."""
    with np.errstate(all="ignore"):
        place = start[:width] + c[: keys * width].reshape(keys, width)
        c[: keys * width] = np.where(place < limit[:width], place, limit[:width]).reshape(-1)
        share, index = around_in_numpy(c, at, keys, width)
        below, above = table[index], table[index + width]
        s[: keys * width] += (share * (above - below) + below).reshape(-1)


def sloped_in_numpy(d_s: Any, c: Any, g: Any, table: Any, d_table: Any, at: Any, carry: Any, keys: int, width: int) -> None:
    """Does the same in NumPy, for when nothing is compiled."""
    with np.errstate(all="ignore"):
        share, index = around_in_numpy(c, at, keys, width)
        slope, gate = (x[: keys * width].reshape(keys, width) for x in (d_s, g))
        np.add.at(d_table, index, slope - slope * share)
        np.add.at(d_table, index + width, slope * share)
        total = np.cumsum(slope * (table[index + width] - table[index]), axis=0)
        g[: keys * width] = ((carry[:width] + total) * (gate * (1 - gate))).reshape(-1)
        carry[:width] += total[-1]


if DISABLED:
    column_count, column_between, column_slopes = counted_in_numpy, between_in_numpy, sloped_in_numpy
else:
    column_count, column_between, column_slopes = (intrinsic(step) for step in (counted, between, sloped))
