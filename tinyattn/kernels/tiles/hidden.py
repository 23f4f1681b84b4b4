"""Hides what a key's queries do not see, a register of a tile's row at a time."""

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


def hidden(_context: Any, s: Any, at: Any, width: Any, start: Any, stop: Any) -> Any:
    """Returns the intrinsic that writes -inf in a row of a tile, everywhere but in columns `start` to `stop`."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        s, at, width, start, stop = arguments
        row = builder.gep(context.make_array(array)(context, builder, s).data, [at])
        numbers = ir.VectorType(INT, vector.count)
        low, high = (lanes.splat(builder, edge, numbers) for edge in (start, stop))
        with cgutils.for_range(builder, builder.sdiv(width, INT(vector.count))) as part:
            column = builder.mul(part.index, INT(vector.count))
            here = builder.add(lanes.splat(builder, column, numbers), ir.Constant(numbers, list(range(vector.count))))
            seen = builder.and_(builder.icmp_signed(">=", here, low), builder.icmp_signed("<", here, high))
            place = builder.gep(row, [column])
            held = builder.select(seen, lanes.load(builder, place, vector), lanes.constant(vector, float("-inf")))
            lanes.store(builder, held, place)
        return context.get_dummy_value()

    array, vector, size = s, lanes.vector_type(s.dtype), types.intp
    return types.void(s, size, size, size, size), generate


def hidden_in_numpy(s: Any, at: int, width: int, start: int, stop: int) -> None:
    """Returns the same in NumPy, for when nothing is compiled."""
    s[at : at + start] = -np.inf
    s[at + stop : at + width] = -np.inf


hide_row = hidden_in_numpy if DISABLED else intrinsic(hidden)
