"""Weights as files store them: times a vector, which is what a decoding step waits for, and widened for a product with many."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.blocks import BYTE, CODES, Block, sizes
from tinyattn.kernels.tiles.jit import DISABLED, compiled
from tinyattn.kernels.tiles.lanes import INT
from tinyattn.kernels.tiles.threads import LEAST_WORK, next_task, run
from tinyattn.ops.types import Array

# Rows that are multiplied together: a register of the vector is read once for all of them.
ROWS = 4
# Groups of rows that are asked for ahead of the one that is multiplied.
AHEAD = 2
# Rows of a task.
TASK = 64
# Weights are read at 5 to 10 thousand million per second, an eighth of the multiply-adds for which threads count work.
EFFORT = 8
# Up to so many vectors the rows are multiplied with each vector from the blocks; beyond, they are widened first.
FEW = 4
# Weights that are widened at once.
WIDENED = 1 << 19


@cache
def dtype_of(code: str) -> np.dtype[Any]:
    """Returns the dtype of an array of blocks: the name of its one field is the format, by which a kernel is compiled."""
    return np.dtype([(code, np.uint8, (sizes(code)[0],))])


def format_of(blocks: Any) -> str:
    """Returns the format of an array of blocks, from its Numba type."""
    return next(iter(blocks.dtype.fields))


def place_of(context: Any, builder: ir.IRBuilder, kind: Any, array: ir.Value, block: ir.Value, size: int) -> ir.Value:
    """Returns where a block stands, as a place of bytes."""
    start = builder.bitcast(context.make_array(kind)(context, builder, array).data, BYTE.as_pointer())
    return builder.gep(start, [builder.mul(block, INT(size))])


def products(_context: Any, out: Any, out_at: Any, x: Any, x_at: Any, blocks: Any, first: Any, per_row: Any) -> Any:
    """Returns the intrinsic out[r] = sum over a row of its weights times x, for ROWS rows; a row has `per_row` blocks."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        out_, out_at, x_, x_at, blocks_, first, per_row = arguments
        into, right = (builder.gep(context.make_array(kind)(context, builder, value).data, [at])
                       for kind, value, at in ((out, out_, out_at), (x, x_, x_at)))
        sums = [cgutils.alloca_once_value(builder, lanes.constant(vector, 0.0)) for _ in range(ROWS)]
        with cgutils.for_range(builder, per_row) as step:
            held = [Block(builder, code, place_of(context, builder, blocks, blocks_, builder.add(
                builder.add(first, builder.mul(per_row, INT(row))), step.index), size)) for row in range(ROWS)]
            for block in held:  # rows are short, and a processor that guesses what comes next would guess wrong at each end
                ahead(builder, builder.gep(block.place, [builder.mul(per_row, INT(AHEAD * ROWS * size))]))
            start = builder.mul(step.index, INT(count))
            for i in range(count // vector.count):
                part = lanes.load(builder, builder.gep(right, [builder.add(start, INT(i * vector.count))]), vector)
                for block, total in zip(held, sums, strict=True):
                    builder.store(lanes.multiply_add(builder, block.register(i), part, builder.load(total)), total)
        for row, total in enumerate(sums):
            builder.store(across(builder, builder.load(total)), builder.gep(into, [INT(row)]))
        return context.get_dummy_value()

    code, vector = format_of(blocks), lanes.vector_type(x.dtype)
    (size, count), place = sizes(code), types.intp
    return types.void(out, place, x, place, blocks, place, place), generate


def ahead(builder: ir.IRBuilder, place: ir.Value) -> None:
    """Asks for a place to be brought near before it is read; any place may be asked for."""
    flag = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), flag, flag, flag])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(fetch, [place, flag(0), flag(3), flag(1)])


def across(builder: ir.IRBuilder, register: ir.Value) -> ir.Value:
    """Returns the sum of the lanes of a register."""
    half = register.type.count // 2
    while half:
        low, high = (lanes.shuffle(builder, register, register, [start + lane for lane in range(half)]) for start in (0, half))
        register, half = builder.fadd(low, high), half // 2
    return builder.extract_element(register, ir.IntType(32)(0))


def widening(_context: Any, target: Any, target_at: Any, blocks: Any, first: Any, count: Any) -> Any:
    """Returns the intrinsic target[i] = the weights of so many blocks, one after the other."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        target_, target_at, blocks_, first, number = arguments
        into = builder.gep(context.make_array(target)(context, builder, target_).data, [target_at])
        with cgutils.for_range(builder, number) as step:
            block = Block(builder, code, place_of(context, builder, blocks, blocks_, builder.add(first, step.index), size))
            start = builder.mul(step.index, INT(weights))
            for i in range(weights // lanes.lanes(4)):
                lanes.store(builder, block.register(i), builder.gep(into, [builder.add(start, INT(i * lanes.lanes(4)))]))
        return context.get_dummy_value()

    code, place = format_of(blocks), types.intp
    size, weights = sizes(code)
    return types.void(target, place, blocks, place, place), generate


multiply: Any = None if DISABLED else intrinsic(products)
widen: Any = None if DISABLED else intrinsic(widening)


@compiled
def multiply_rows(counter, out, x, vectors, blocks, per_row, rows, inputs):  # type: ignore[no-untyped-def]
    """out[n, r] = row r times vector n, on flat arrays; there are at least ROWS rows, and the last group may overlap another."""
    while True:
        start = next_task(counter) * TASK
        if start >= rows:
            break
        stop = min(start + TASK, rows)
        for n in range(vectors):
            for row in range(start, stop, ROWS):
                first = min(row, rows - ROWS)
                multiply(out, n * rows + first, x, n * inputs, blocks, first * per_row, per_row)


@compiled
def widen_rows(counter, target, blocks, first, count, per_task, weights):  # type: ignore[no-untyped-def]
    """Writes target = the weights of `count` blocks from `first` on."""
    while True:
        start = next_task(counter) * per_task
        if start >= count:
            break
        widen(target, start * weights, blocks, first + start, min(per_task, count - start))


def stored_product(x: Array, raw: Array, code: str, rows: int) -> Array | None:
    """Returns x W^T for the bytes of a matrix W (rows, inputs) in a file; None where this is not computed here.

    x (n, inputs) of float32 or float64 -> (n, rows). The formats are those of `CODES`. A row must be a whole number of blocks,
    or of registers for floats.
    """
    inputs = x.shape[-1]
    if DISABLED or code not in CODES or rows < ROWS or not inputs or inputs % sizes(code)[1] or not len(x):
        return None
    x, blocks = np.ascontiguousarray(x), raw.view(dtype_of(code))
    per_row = inputs // sizes(code)[1]
    out = np.empty((len(x), rows), x.dtype)
    if len(x) <= FEW and x.dtype == np.float32:
        work, given = EFFORT * rows * inputs * len(x), (out.reshape(-1), x.reshape(-1), len(x), blocks, per_row, rows, inputs)
        if work < LEAST_WORK:  # asking for the number of threads takes 10 us
            multiply_rows(np.zeros(1, np.int64), *given)
        else:
            run(multiply_rows, -(-rows // TASK), work, *given)
        return out
    some = min(max(WIDENED // inputs, 1), rows)
    tile = np.empty(some * inputs, np.float32)
    for start in range(0, rows, some):
        stop = min(start + some, rows)
        widened_to(tile, blocks, start * per_row, (stop - start) * per_row, sizes(code)[1])
        wide = tile[: (stop - start) * inputs].reshape(-1, inputs).astype(x.dtype, copy=False)
        np.matmul(x, wide.T, out=out[:, start:stop])
    return out


def widened_to(tile: Array, blocks: Array, first: int, count: int, weights: int) -> None:
    """Writes the weights of `count` blocks from `first` on, over threads."""
    per_task = max(1, (1 << 15) // weights)
    run(widen_rows, -(-count // per_task), EFFORT * count * weights, tile, blocks, first, count, per_task, weights)
