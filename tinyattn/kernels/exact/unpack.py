"""Codes of 8 or 4 bits as numbers again, a register at a time: code times scale plus zero."""

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
from tinyattn.kernels.tiles.lanes import INT

WORD = ir.IntType(32)


def read_codes(builder: ir.IRBuilder, place: ir.Value, bits: int, count: int) -> ir.Value:
    """Returns a register of `count` codes that stand side by side from a byte on, as whole numbers.

    Of 4 bits, byte i holds code 2 i in its low half and 2 i + 1 in its high one, so that a word of 32 bits is 8 codes in
    their order: every lane gets its word, and shifts its own code down.
    """
    size, words = (8, count) if bits == 8 else (min(32, 4 * count), max(1, count // 8))
    stored, whole = ir.VectorType(ir.IntType(size), words), ir.VectorType(WORD, count)
    held = builder.zext(builder.load(builder.bitcast(place, stored.as_pointer()), align=1), ir.VectorType(WORD, words))
    if bits == 8:
        return held
    spread = builder.shuffle_vector(held, ir.Constant(held.type, ir.Undefined), whole([lane // 8 for lane in range(count)]))
    return builder.and_(builder.lshr(spread, whole([4 * (lane % 8) for lane in range(count)])), whole([15] * count))


def unpacked(bits: int, each: bool) -> Callable[..., Any]:
    """Returns the intrinsic target[x] = code x scale + zero for `width` codes that stand side by side.

    `each` is whether every channel has its own scale and zero, beside those of its neighbours, or all have the first.
    width is a multiple of the lanes, of twice as many with 4 bits.
    """
    def typed(_context: Any, target: Any, target_at: Any, codes: Any, codes_at: Any, scale: Any, zero: Any, scale_at: Any,
              width: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            target_, target_at, codes_, codes_at, scale_, zero_, scale_at, width = arguments
            into, source, by, plus = (
                builder.gep(context.make_array(array)(context, builder, value).data, [at]) for array, value, at in
                ((target, target_, target_at), (codes, codes_, codes_at), (scale, scale_, scale_at), (zero, zero_, scale_at)))
            alone = [lanes.splat(builder, builder.load(base), vector) for base in (by, plus)]
            with cgutils.for_range(builder, builder.sdiv(width, INT(registers * vector.count))) as step:
                for n in range(registers):
                    place = builder.add(builder.mul(step.index, INT(registers * vector.count)), INT(n * vector.count))
                    code = read_codes(builder, builder.gep(source, [builder.sdiv(place, INT(registers))]), bits, vector.count)
                    factor, offset = ([lanes.load(builder, builder.gep(base, [place]), vector) for base in (by, plus)]
                                      if each else alone)
                    number = lanes.multiply_add(builder, builder.sitofp(code, vector), factor, offset)
                    lanes.store(builder, number, builder.gep(into, [place]))
            return context.get_dummy_value()

        vector, size, registers = lanes.vector_type(target.dtype), types.intp, 8 // bits
        return types.void(target, size, codes, size, scale, zero, size, size), generate

    return typed


def unpacked_in_numpy(bits: int, each: bool) -> Callable[..., None]:
    """Returns the same in NumPy, for when nothing is compiled."""
    def unpack(target: Any, target_at: int, codes: Any, codes_at: int, scale: Any, zero: Any, scale_at: int, width: int) -> None:
        held = codes[codes_at : codes_at + width * bits // 8]
        numbers = held if bits == 8 else np.stack((held & 15, held >> 4), axis=-1).reshape(-1)
        place = scale_at + (np.arange(width) if each else 0)
        target[target_at : target_at + width] = numbers.astype(target.dtype) * scale[place] + zero[place]

    return unpack


bytes_by_channel = unpacked_in_numpy(8, True) if DISABLED else intrinsic(unpacked(8, True))
bytes_by_group = unpacked_in_numpy(8, False) if DISABLED else intrinsic(unpacked(8, False))
halves_by_channel = unpacked_in_numpy(4, True) if DISABLED else intrinsic(unpacked(4, True))
halves_by_group = unpacked_in_numpy(4, False) if DISABLED else intrinsic(unpacked(4, False))
