"""Numbers below the least normal one become 0 inside a kernel: on many processors each of them costs a hundred operations."""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.kernels.tiles.jit import DISABLED

WORD = ir.IntType(32)
MACHINE = binding.get_process_triple().split("-")[0]
# The bit of the control register that turns them into 0 where they are computed; numbers that are read stay as they are.
FLUSH = 1 << 15 if MACHINE in ("x86_64", "i686", "i386") else 0


def exchange(builder: ir.IRBuilder, new: ir.Value | None) -> ir.Value:
    """Returns the control register as it is, with the bit set after that, or with what `new` says in it."""
    place = cgutils.alloca_once(builder, WORD)
    held = builder.bitcast(place, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [held.type])
    read, write = (builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
                   for name in ("llvm.x86.sse.stmxcsr", "llvm.x86.sse.ldmxcsr"))
    builder.call(read, [held])
    old = builder.load(place)
    builder.store(builder.or_(old, WORD(FLUSH)) if new is None else new, place)
    builder.call(write, [held])
    return old


def flushing(_context: Any) -> Any:
    """Returns the intrinsic that sets the bit and returns what stood in the register."""
    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, _arguments: Any) -> Any:
        return exchange(builder, None) if FLUSH else WORD(0)

    return types.int32(), generate


def restoring(_context: Any, _old: Any) -> Any:
    """Returns the intrinsic that puts back what stood in the register."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        if FLUSH:
            exchange(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int32), generate


flush_small = (lambda: 0) if DISABLED else intrinsic(flushing)
restore = (lambda old: None) if DISABLED else intrinsic(restoring)
