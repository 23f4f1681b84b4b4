"""Codes of 8 or 4 bits as numbers again, a register at a time: code times scale plus zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels import lanes
from tinyattn.kernels.jit import DISABLED
from tinyattn.kernels.lanes import INT


def halves(builder: ir.IRBuilder, packed: ir.Value) -> list[ir.Value]:
    """Returns two registers of codes from one of bytes: byte i holds code 2 i in its low half and 2 i + 1 in its high one."""
    count, bits = packed.type.count, packed.type
    low, high = builder.and_(packed, bits([15] * count)), builder.lshr(packed, bits([4] * count))
    order = [lane for i in range(count) for lane in (i, count + i)]
    return [lanes.shuffle(builder, low, high, order[:count]), lanes.shuffle(builder, low, high, order[count:])]


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
            bytes_, integers = (ir.VectorType(ir.IntType(size), vector.count) for size in (8, 32))
            alone = [lanes.splat(builder, builder.load(base), vector) for base in (by, plus)]
            with cgutils.for_range(builder, builder.sdiv(width, INT(registers * vector.count))) as step:
                place = builder.mul(step.index, INT(vector.count))
                held = builder.load(builder.bitcast(builder.gep(source, [place]), bytes_.as_pointer()), align=1)
                for n, part in enumerate([held] if bits == 8 else halves(builder, held)):
                    x = builder.add(builder.mul(place, INT(registers)), INT(n * vector.count))
                    factor, offset = ([lanes.load(builder, builder.gep(base, [x]), vector) for base in (by, plus)]
                                      if each else alone)
                    number = builder.uitofp(builder.zext(part, integers), vector)
                    lanes.store(builder, lanes.multiply_add(builder, number, factor, offset), builder.gep(into, [x]))
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
