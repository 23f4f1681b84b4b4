"""Steps on rows of a micro tile that stay in registers: a triangle kept, a small system solved, a state read and a token folded in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.kernels.tiles.lanes import INT, REGISTERS, ROWS

# Micro tiles whose columns are folded side by side, as their sums and what is added to them fill the registers. Measured on 32 heads
# of 128 x 128 with 32 registers: two thirds of the time of one by one.
WIDE = REGISTERS // 8


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


def recalled(tiles: int) -> Callable[..., Any]:
    """Returns the intrinsic that fills the columns of some micro tiles of total with k^T diag(fading) S.

    The sums stay in registers: a loop that LLVM generates reads and writes them for every row, in three times the time.
    """
    def typed(_context: Any, state: Any, at: Any, step: Any, rows: Any, column: Any, keys: Any, key_at: Any, fading: Any,
              fading_at: Any, fading_step: Any, total: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            state_, at_, step_, rows_, column_, keys_, key_at_, fading_, place, down, total_ = arguments

            def data(kind: Any, array: ir.Value, index: ir.Value) -> ir.Value:
                return builder.gep(context.make_array(kind)(context, builder, array).data, [index])

            start, parts = builder.add(at_, column_), [INT(part * vector.count) for part in range(tiles * lanes.VECTORS)]
            old, result = data(state, state_, start), data(total, total_, column_)
            key, factor = data(keys, keys_, key_at_), data(fading, fading_, place)
            sums = [cgutils.alloca_once_value(builder, lanes.constant(vector, 0.0)) for _ in parts]
            with cgutils.for_range(builder, rows_) as row:
                along = builder.fmul(builder.load(builder.gep(key, [row.index])),
                                     builder.load(builder.gep(factor, [builder.mul(row.index, down)])))
                by = lanes.splat(builder, along, vector)
                for part, total_of in zip(parts, sums, strict=True):
                    held = lanes.load(builder, builder.gep(old, [builder.add(builder.mul(row.index, step_), part)]), vector)
                    builder.store(lanes.multiply_add(builder, by, held, builder.load(total_of)), total_of)
            for part, total_of in zip(parts, sums, strict=True):
                lanes.store(builder, builder.load(total_of), builder.gep(result, [part]))
            return context.get_dummy_value()

        vector, size = lanes.vector_type(state.dtype), types.intp
        return types.void(state, size, size, size, size, keys, size, fading, size, size, total), generate

    return typed


def recalled_in_numpy(tiles: int) -> Callable[..., None]:
    """Returns the same in NumPy, for when nothing is compiled."""
    def recall(state: Any, at: int, step: int, rows: int, column: int, keys: Any, key_at: int, fading: Any, fading_at: int,
               fading_step: int, total: Any) -> None:
        wide = np.arange(column, column + tiles * lanes.columns(total.itemsize))
        sums = np.zeros(len(wide), total.dtype)
        with np.errstate(all="ignore"):
            for d in range(rows):
                sums += keys[key_at + d] * fading[fading_at + d * fading_step] * state[at + d * step + wide]
        total[wide] = sums

    return recall


def folded(tiles: int) -> Callable[..., Any]:
    """Returns the intrinsic that fills the columns of some micro tiles of diag(fading) S + k x^T, and of total what the query reads.

    The new state may be written over the old one: a loop that LLVM generates reads and writes number by number there.
    """
    def typed(_context: Any, after: Any, before: Any, at: Any, step: Any, rows: Any, added: Any, column: Any, keys: Any, key_at: Any,
              fading: Any, fading_at: Any, fading_step: Any, queries: Any, query_at: Any, total: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            after_, before_, at_, step_, rows_, added_, column_, *others, total_ = arguments
            keys_, key_at_, fading_, place, down, queries_, query_at_ = others

            def data(kind: Any, array: ir.Value, index: ir.Value) -> ir.Value:
                return builder.gep(context.make_array(kind)(context, builder, array).data, [index])

            start, parts = builder.add(at_, column_), [INT(part * vector.count) for part in range(tiles * lanes.VECTORS)]
            new, old, result = data(after, after_, start), data(before, before_, start), data(total, total_, column_)
            key, factor, query = data(keys, keys_, key_at_), data(fading, fading_, place), data(queries, queries_, query_at_)
            written = [lanes.load(builder, builder.gep(data(added, added_, column_), [part]), vector) for part in parts]
            sums = [cgutils.alloca_once_value(builder, lanes.constant(vector, 0.0)) for _ in parts]
            with cgutils.for_range(builder, rows_) as row:
                by, along, asked = (lanes.splat(builder, builder.load(builder.gep(source, [index])), vector) for source, index in
                                    ((factor, builder.mul(row.index, down)), (key, row.index), (query, row.index)))
                for part, x, total_of in zip(parts, written, sums, strict=True):
                    here = builder.add(builder.mul(row.index, step_), part)
                    before_it = lanes.load(builder, builder.gep(old, [here]), vector)
                    held = lanes.multiply_add(builder, by, before_it, builder.fmul(along, x))
                    lanes.store(builder, held, builder.gep(new, [here]))
                    builder.store(lanes.multiply_add(builder, asked, held, builder.load(total_of)), total_of)
            for part, total_of in zip(parts, sums, strict=True):
                lanes.store(builder, builder.load(total_of), builder.gep(result, [part]))
            return context.get_dummy_value()

        vector, size = lanes.vector_type(after.dtype), types.intp
        return types.void(after, before, size, size, size, added, size, keys, size, fading, size, size, queries, size, total), generate

    return typed


def folded_in_numpy(tiles: int) -> Callable[..., None]:
    """Returns the same in NumPy, for when nothing is compiled."""
    def fold(after: Any, before: Any, at: int, step: int, rows: int, added: Any, column: int, keys: Any, key_at: int, fading: Any,
             fading_at: int, fading_step: int, queries: Any, query_at: int, total: Any) -> None:
        places, wide = at + np.arange(rows)[:, None] * step, np.arange(column, column + tiles * lanes.columns(total.itemsize))
        sums = np.zeros(len(wide), total.dtype)
        with np.errstate(all="ignore"):
            for d, place in enumerate(places + wide):
                after[place] = fading[fading_at + d * fading_step] * before[place] + keys[key_at + d] * added[wide]
                sums += queries[query_at + d] * after[place]
        total[wide] = sums

    return fold


keep_row = kept_in_numpy if DISABLED else intrinsic(kept)
solve_rows = solved_in_numpy if DISABLED else intrinsic(solved)
fold_columns, fold_wide = (folded_in_numpy(n) if DISABLED else intrinsic(folded(n)) for n in (1, WIDE))
recall_columns, recall_wide = (recalled_in_numpy(n) if DISABLED else intrinsic(recalled(n)) for n in (1, WIDE))
