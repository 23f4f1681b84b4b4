"""Formulas on registers: written once with the operators of Python, run on registers where compiled and on NumPy arrays where not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinyattn.engine.primitive import Primitive
from tinyattn.kernels.tiles import lanes, pages
from tinyattn.kernels.tiles.jit import DISABLED
from tinyattn.kernels.tiles.lanes import CONTRACT, INT
from tinyattn.kernels.tiles.threads import share
from tinyattn.ops.types import Array

# Elements of one task: with three arrays of float32 these stay in the second cache.
PART = 1 << 14
# What an element costs, in multiply-adds of a product.
WORK = 32


class Register:
    """A value of LLVM with the operators of Python, so that a formula reads as it does in NumPy."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    def of(self, other: Any) -> ir.Value:
        """Returns another register, or a number in every lane."""
        return other.value if isinstance(other, Register) else lanes.constant(self.value.type, float(other))

    def made(self, value: ir.Value) -> Register:
        return Register(self.builder, value)

    def __add__(self, other: Any) -> Register:
        return self.made(self.builder.fadd(self.value, self.of(other), flags=CONTRACT))

    def __sub__(self, other: Any) -> Register:
        return self.made(self.builder.fsub(self.value, self.of(other), flags=CONTRACT))

    def __mul__(self, other: Any) -> Register:
        return self.made(self.builder.fmul(self.value, self.of(other), flags=CONTRACT))

    def __rsub__(self, other: Any) -> Register:
        return self.made(self.builder.fsub(self.of(other), self.value, flags=CONTRACT))

    def __rtruediv__(self, other: Any) -> Register:
        return self.made(self.builder.fdiv(self.of(other), self.value))

    __radd__, __rmul__ = __add__, __mul__


class Functions:
    """The functions that a formula may call, on registers."""

    @staticmethod
    def exp(x: Register) -> Register:
        """Returns e ** x for x up to 0 and a little more."""
        return x.made(lanes.exp(x.builder, x.value))

    @staticmethod
    def tanh(x: Register) -> Register:
        return x.made(lanes.tanh(x.builder, x.value))

    @staticmethod
    def clip(x: Register, low: float, high: float) -> Register:
        """Returns x between two numbers; NaN stays NaN."""
        for edge, sign in ((low, "<"), (high, ">")):
            limit = x.of(edge)
            x = x.made(x.builder.select(x.builder.fcmp_ordered(sign, x.value, limit), limit, x.value))
        return x

    @staticmethod
    def below(x: Register, edge: float, yes: Any, no: Register) -> Register:
        """Returns `yes` where x is below the edge, else `no`, as where x is NaN."""
        return x.made(x.builder.select(x.builder.fcmp_ordered("<", x.value, x.of(edge)), x.of(yes), no.value))


class FunctionsInNumpy:
    """The same functions, on arrays."""

    exp, tanh, clip = np.exp, np.tanh, np.clip

    @staticmethod
    def below(x: Array, edge: float, yes: Any, no: Array) -> Array:
        return np.where(x < edge, yes, no).astype(x.dtype)


def mapped(formula: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    """Returns the intrinsic (reads, writes, start, stop): `formula(functions, *reads) -> writes` on every register from start to stop.

    reads and writes are tuples of flat arrays of one dtype; start and stop are multiples of a register's lanes.
    """
    def typed(_context: Any, reads: Any, writes: Any, start: Any, stop: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
            read, write, begin, end = arguments
            sources, targets = ([context.make_array(one)(context, builder, value).data
                                 for one, value in zip(kind, cgutils.unpack_tuple(builder, given, len(kind)), strict=True)]
                                for kind, given in ((reads, read), (writes, write)))
            turns = builder.sdiv(builder.sub(end, begin), INT(vector.count))
            with cgutils.for_range(builder, turns) as turn:
                at = builder.add(begin, builder.mul(turn.index, INT(vector.count)))
                values = [Register(builder, lanes.load(builder, builder.gep(source, [at]), vector)) for source in sources]
                for result, target in zip(formula(Functions, *values), targets, strict=True):
                    lanes.store(builder, result.value, builder.gep(target, [at]))
            return context.get_dummy_value()

        vector = lanes.vector_type(reads[0].dtype)
        return types.void(reads, writes, types.intp, types.intp), generate

    def in_numpy(reads: tuple[Array, ...], writes: tuple[Array, ...], start: int, stop: int) -> None:
        with np.errstate(all="ignore"):
            for result, target in zip(formula(FunctionsInNumpy, *(x[start:stop] for x in reads)), writes, strict=True):
                target[start:stop] = result

    return in_numpy if DISABLED else intrinsic(typed)


def flat(x: Array) -> Array:
    """Returns an array flat, contiguous and writable, as the kernels are compiled for: its own memory where that will do."""
    flags = x.flags
    return (x if flags.c_contiguous and flags.writeable else np.require(x, requirements=["C", "W"])).reshape(-1)


def fresh(size: int, dtype: Any) -> Array:
    """Returns a new flat array that begins where a register of memory does: others cross two lines of the cache at every step."""
    step = lanes.VECTOR_BYTES
    room = pages.empty(size + step // np.dtype(dtype).itemsize, dtype)
    start = -room.ctypes.data % step // room.itemsize
    return room[start : start + size]


def over(kernel: Callable[..., Any], reads: tuple[Array, ...], results: int) -> tuple[Array, ...]:
    """Returns as many results of a kernel as asked for, each an array like the first that it reads."""
    shape, dtype = reads[0].shape, reads[0].dtype
    reads = tuple(flat(x) for x in reads)
    size, step = reads[0].size, lanes.lanes(dtype.itemsize)
    writes, whole = tuple(np.empty(size, dtype) for _ in range(results)), size // step * step
    share(kernel, -(-whole // PART), WORK * size, whole, reads, writes)
    if whole < size:  # what is left of a register is computed in one that is filled up with zeros
        ends, ending = (tuple(np.zeros(step, dtype) for _ in range(count)) for count in (len(reads), results))
        for end, x in zip(ends, reads, strict=True):
            end[: size - whole] = x[whole:]
        kernel(np.zeros(1, np.int64), step, ends, ending)
        for out, end in zip(writes, ending, strict=True):
            out[whole:] = end[: size - whole]
    return tuple(out.reshape(shape) for out in writes)


def again(form: Callable[..., Any]) -> Callable[[Primitive[..., Any]], Primitive[..., Any]]:
    """Returns the decorator that names the form in NumPy which second derivatives of a primitive walk."""
    return lambda primitive: primitive.again(form)


def bare(x: Any) -> Any:
    """Returns the array of a Tensor, or the array itself."""
    return getattr(x, "value", x)


def alike(*arrays: Any) -> bool:
    """Returns whether all that are not None have one dtype, float32 or float64, of this machine's byte order."""
    kinds = {getattr(x, "dtype", None) for x in arrays if x is not None}
    kind = kinds.pop() if len(kinds) == 1 else None
    return isinstance(kind, np.dtype) and kind in (np.float32, np.float64)  # None alone equals np.dtype(float64)
