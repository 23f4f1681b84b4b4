"""What intrinsics are written in that work on registers side by side: places counted in registers, and sums over columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.lanes import INT


class Code:
    """Emits steps on registers; places are counted in registers."""

    def __init__(self, context: Any, builder: ir.IRBuilder, kind: Any) -> None:
        self.context, self.builder, self.vector = context, builder, lanes.vector_type(kind.dtype)

    def start(self, kind: Any, array: ir.Value, number: ir.Value | None = None) -> ir.Value:
        """Returns the place of a number of an array, its first one if none is named."""
        data = self.context.make_array(kind)(self.context, self.builder, array).data
        return data if number is None else self.builder.gep(data, [number])

    def at(self, pointer: ir.Value, *registers: int | ir.Value) -> ir.Value:
        """Returns the place so many registers later."""
        for far in registers:
            far = far if isinstance(far, ir.Value) else INT(far)
            pointer = self.builder.gep(pointer, [self.builder.mul(far, INT(self.vector.count))])
        return pointer

    def load(self, pointer: ir.Value, *registers: int | ir.Value) -> ir.Value:
        return lanes.load(self.builder, self.at(pointer, *registers), self.vector)

    def store(self, value: ir.Value, pointer: ir.Value, *registers: int | ir.Value) -> None:
        lanes.store(self.builder, value, self.at(pointer, *registers))

    def times(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self.builder.fmul(a, b)

    def less(self, total: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
        """Returns total - a b."""
        return self.builder.fsub(total, self.builder.fmul(a, b, flags=lanes.CONTRACT), flags=lanes.CONTRACT)

    def without(self, values: list[ir.Value], depth: ir.Value,
                step: Callable[[ir.Value, list[ir.Value]], list[ir.Value]]) -> list[ir.Value]:
        """Returns the values less their sums, of which step(column, sums) adds one column, for each before `depth`.

        What small numbers are taken off one by one, as large as it is, is rounded each time.
        """
        held = [cgutils.alloca_once_value(self.builder, lanes.constant(self.vector, 0.0)) for _ in values]
        with cgutils.for_range(self.builder, depth) as turn:
            for place, new in zip(held, step(turn.index, [self.builder.load(place) for place in held]), strict=True):
                self.builder.store(new, place)
        return [self.builder.fsub(value, self.builder.load(place)) for value, place in zip(values, held, strict=True)]
