"""Asking for memory before it is needed: a product then waits neither for what it reads next nor for what it writes next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.kernels.tiles.lanes import INT

# Arguments of llvm.prefetch.
READ, WRITE, FIRST_CACHE, DATA = 0, 1, 3, 1


def fetched(access: int) -> Callable[..., Any]:
    """Returns the intrinsic (array, at) that asks for one row of a micro tile; it affects the time alone, not the results."""
    def typed(_context: Any, array: Any, at: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            start = builder.gep(context.make_array(array)(context, builder, arguments[0]).data, [arguments[1]])
            number, pointer = ir.IntType(32), cgutils.voidptr_t
            prefetch = builder.module.declare_intrinsic(
                "llvm.prefetch", [pointer], ir.FunctionType(ir.VoidType(), [pointer, number, number, number]))
            for part in range(lanes.VECTORS):
                place = builder.bitcast(builder.gep(start, [INT(part * count)]), pointer)
                builder.call(prefetch, [place, number(access), number(FIRST_CACHE), number(DATA)])
            return context.get_dummy_value()

        count = lanes.vector_type(array.dtype).count
        return types.void(array, types.intp), generate

    return typed


def not_fetched(array: Any, at: int) -> None:
    """Does nothing, for when nothing is compiled."""


fetch_to_read = not_fetched if DISABLED else intrinsic(fetched(READ))
fetch_to_write = not_fetched if DISABLED else intrinsic(fetched(WRITE))
