"""Inner products along the rows of two arrays: what a score is when there are too few queries for a tile product."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.kernels.tiles.lanes import INT, REGISTERS

# Keys and query lines taken together, their products in KEYS x LINES registers.
KEYS, LINES = (4, 4) if REGISTERS == 32 else (4, 2)


def inner(_context: Any, s: Any, s_at: Any, width: Any, q: Any, q_at: Any, q_row: Any, k: Any, k_at: Any, k_row: Any,
          depth: Any) -> Any:
    """Returns the intrinsic s[key][line] = sum_x k[key][x] q[line][x] for KEYS keys and LINES lines.

    depth is a multiple of the lanes. The registers are summed across their lanes once, at the end.
    """
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        s, s_at, width, q, q_at, q_row, k, k_at, k_row, depth = arguments
        s, q, k = (builder.gep(context.make_array(array)(context, builder, value).data, [at])
                   for array, value, at in zip(arrays, (s, q, k), (s_at, q_at, k_at), strict=True))
        sums = [[cgutils.alloca_once_value(builder, lanes.constant(vector, 0.0)) for _ in range(LINES)] for _ in range(KEYS)]
        with cgutils.for_range(builder, builder.sdiv(depth, INT(vector.count))) as step:
            x = builder.mul(step.index, INT(vector.count))
            keys, queries = ([lanes.load(builder, builder.gep(base, [builder.add(builder.mul(row, INT(n)), x)]), vector)
                              for n in range(count)] for base, row, count in ((k, k_row, KEYS), (q, q_row, LINES)))
            for key, line in zip(keys, sums, strict=True):
                for query, total in zip(queries, line, strict=True):
                    builder.store(lanes.multiply_add(builder, key, query, builder.load(total)), total)
        packed = lanes.totals(builder, [builder.load(total) for line in sums for total in line])
        for key in range(KEYS):
            register, lane = divmod(key * LINES, vector.count)
            line = lanes.shuffle(builder, packed[register], packed[register], list(range(lane, lane + LINES)))
            lanes.store(builder, line, builder.gep(s, [builder.mul(width, INT(key))]))
        return context.get_dummy_value()

    vector, arrays, size = lanes.vector_type(s.dtype), (s, q, k), types.intp
    return types.void(s, size, size, q, size, size, k, size, size, size), generate


def inner_in_numpy(s: Any, s_at: int, width: int, q: Any, q_at: int, q_row: int, k: Any, k_at: int, k_row: int,
                   depth: int) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    key, line, x = np.arange(KEYS)[:, None], np.arange(LINES)[:, None], np.arange(depth)
    products = k[k_at + key * k_row + x][:, None] * q[q_at + line * q_row + x]
    s[s_at + key * width + np.arange(LINES)] = products.sum(axis=-1)


def ahead(_context: Any, x: Any, at: Any) -> Any:
    """Returns the intrinsic that asks for x[at] to be brought near before it is read; any place may be asked for."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        place = builder.gep(context.make_array(x)(context, builder, arguments[0]).data, [arguments[1]])
        flag, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, flag, flag, flag])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(fetch, [builder.bitcast(place, pointer), flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.void(x, types.intp), generate


def ahead_in_numpy(x: Any, at: int) -> None:
    """Does nothing: a hint changes no result."""


dots = inner_in_numpy if DISABLED else intrinsic(inner)
prefetch = ahead_in_numpy if DISABLED else intrinsic(ahead)
