"""Which of up to 64 scores are above their bounds, a register at a time: as the bits of one number."""

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


def above(_context: Any, s: Any, at: Any, width: Any, bounds: Any) -> Any:
    """Returns the intrinsic whose bit i says whether s[at + i] is above bounds[i] or NaN; width is at most 64."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        s, at, width, bounds = arguments
        row = builder.gep(context.make_array(array)(context, builder, s).data, [at])
        least = context.make_array(array)(context, builder, bounds).data
        found = cgutils.alloca_once_value(builder, INT(0))
        with cgutils.for_range(builder, builder.sdiv(width, INT(vector.count))) as part:
            column = builder.mul(part.index, INT(vector.count))
            x, bound = (lanes.load(builder, builder.gep(base, [column]), vector) for base in (row, least))
            bits = builder.bitcast(builder.fcmp_unordered(">", x, bound), ir.IntType(vector.count))
            builder.store(builder.or_(builder.load(found), builder.shl(builder.zext(bits, INT), column)), found)
        return builder.load(found)

    array, vector, size = s, lanes.vector_type(s.dtype), types.intp
    return types.int64(s, size, size, bounds), generate


def above_in_numpy(s: Any, at: int, width: int, bounds: Any) -> int:
    """Returns the same in NumPy, for when nothing is compiled."""
    found = ~(s[at : at + width] <= bounds[:width])
    return sum(1 << int(i) for i in np.flatnonzero(found))


def lowest(_context: Any, bits: Any) -> Any:
    """Returns the intrinsic of the place of the lowest bit that is set."""
    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.int64), generate


def lowest_in_python(bits: int) -> int:
    """Returns the same in Python, for when nothing is compiled."""
    return (bits & -bits).bit_length() - 1


scores_above = above_in_numpy if DISABLED else intrinsic(above)
lowest_bit = lowest_in_python if DISABLED else intrinsic(lowest)
