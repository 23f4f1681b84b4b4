"""Products and sums of all numbers on one side of each: log2(lanes) steps per register, and one from register to register."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.kernels.tiles.lanes import INT
from tinyattn.ops.types import Array


def scan(name: str, nothing: float, right: bool) -> Callable[..., Any]:
    """Returns the intrinsic (x, carry): each number becomes the carry with all on one side of it; returns the carry with all.

    `name` is the instruction, `nothing` the number that it leaves as it is; `right` takes what stands to the right of a number, else
    to the left. x has whole registers.
    """
    def typed(_context: Any, x: Any, carry: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            array = context.make_array(x)(context, builder, arguments[0])
            registers = builder.sdiv(array.nitems, INT(vector.count))
            kept, with_ = cgutils.alloca_once_value(builder, arguments[1]), getattr(builder, name)
            with cgutils.for_range(builder, registers) as turn:
                at = builder.sub(builder.sub(registers, INT(1)), turn.index) if right else turn.index
                place = builder.gep(array.data, [builder.mul(at, INT(vector.count))])
                held, step = lanes.load(builder, place, vector), 1
                while step < vector.count:
                    held = with_(held, moved(builder, held, step))
                    step *= 2
                before = builder.load(kept)
                lanes.store(builder, with_(moved(builder, held, 1), lanes.splat(builder, before, vector)), place)
                whole = builder.extract_element(held, ir.IntType(32)(0 if right else vector.count - 1))
                builder.store(with_(before, whole), kept)
            return builder.load(kept)

        def moved(builder: ir.IRBuilder, held: ir.Value, step: int) -> ir.Value:
            """Returns the register in which each lane holds what stood so many lanes beside it."""
            side = step if right else -step
            order = [lane + side if 0 <= lane + side < vector.count else vector.count for lane in range(vector.count)]
            return lanes.shuffle(builder, held, lanes.constant(vector, nothing), order)

        vector = lanes.vector_type(x.dtype)
        return x.dtype(x, x.dtype), generate

    return typed


def scan_in_numpy(function: np.ufunc, right: bool) -> Callable[..., Any]:
    """Returns the same in NumPy, for when nothing is compiled."""
    def run(x: Array, carry: Any) -> Any:
        line = x[::-1] if right else x
        with np.errstate(all="ignore"):
            every = function.accumulate(np.concatenate((np.full(1, carry, x.dtype), line)))
        line[:] = every[:-1]
        return every[-1]

    return run


if DISABLED:
    products_right, sums_left = scan_in_numpy(np.multiply, right=True), scan_in_numpy(np.add, right=False)
else:
    products_right, sums_left = intrinsic(scan("fmul", 1.0, right=True)), intrinsic(scan("fadd", 0.0, right=False))
