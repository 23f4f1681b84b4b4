"""The vector registers of this machine, and the steps on them that the kernels are generated from."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import binding, ir
from numba.core import config

# contract: a product and a sum may become one instruction. Never nnan or ninf: a caller's NaN must come out as one.
CONTRACT = ("contract",)
INT = ir.IntType(64)


def cpu_features() -> dict[str, bool]:
    """Returns what the processor compiled for can do: this machine's, or what NUMBA_CPU_FEATURES says, +avx,-avx512f."""
    asked = config.CPU_FEATURES
    if asked is None:
        return dict(binding.get_host_cpu_features())
    return {word[1:]: word[0] == "+" for word in asked.split(",") if word}


def vector_bytes() -> tuple[int, int]:
    """Returns the bytes of a vector register of this machine, and how many there are."""
    features = cpu_features()
    if features.get("avx512f"):
        return 64, 32
    return (32, 16) if features.get("avx") else (16, 32 if features.get("neon") else 16)


VECTOR_BYTES, REGISTERS = vector_bytes()
# A micro tile: ROWS x VECTORS registers accumulate, which leaves some for what is loaded.
ROWS, VECTORS = (8, 2) if REGISTERS == 32 else (4, 2)
# (e ** f - 1) / f as its Taylor series, to the degrees at which the next term is below half a unit of the last place.
SERIES = {itemsize: [1 / math.factorial(n) for n in range(1, degree + 1)] for itemsize, degree in ((4, 7), (8, 13))}
# ln 2 in two parts, the first with so few bits that a whole number of them is exact.
LN_2 = {4: (0.693359375, -2.12194440054690583e-4), 8: (0.693145751953125, 1.42860682030941723e-6)}


def lanes(itemsize: int) -> int:
    """Returns how many elements of this size a register holds."""
    return VECTOR_BYTES // itemsize


def columns(itemsize: int) -> int:
    """Returns how many columns a micro tile has."""
    return VECTORS * lanes(itemsize)


def vector_type(dtype: Any) -> ir.VectorType:
    """Returns the LLVM type of a register full of a Numba float type."""
    element = ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(element, lanes(dtype.bitwidth // 8))


def itemsize(vector: ir.VectorType) -> int:
    """Returns the bytes of one lane."""
    return 4 if isinstance(vector.element, ir.FloatType) else 8


def splat(builder: ir.IRBuilder, scalar: ir.Value, vector: ir.VectorType) -> ir.Value:
    """Returns a register with the scalar in every lane."""
    index = ir.IntType(32)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(index, 0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined),
                                  ir.Constant(ir.VectorType(index, vector.count), [0] * vector.count))


def shuffle(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, order: list[int]) -> ir.Value:
    """Returns the register whose lane l is lane order[l] of a and b side by side."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))


def totals(builder: ir.IRBuilder, registers: list[ir.Value]) -> list[ir.Value]:
    """Returns the sums over the lanes of each register, packed: that of register n in lane n % lanes of n // lanes.

    Two registers become one whose even lanes hold sums of neighbours of the first and odd lanes those of the second;
    then sums of pairs, of fours, ...: one addition a pair of registers where each alone would take log2(lanes).
    """
    count = registers[0].type.count
    step = 1
    while step < count:
        left = [lane if not lane & step else count + (lane ^ step) for lane in range(count)]
        right = [lane | step if not lane & step else count + lane for lane in range(count)]
        registers = [builder.fadd(shuffle(builder, a, b, left), shuffle(builder, a, b, right))
                     for a, b in zip(registers[::2], registers[1::2], strict=True)]
        step *= 2
    return registers


def constant(vector: ir.VectorType, number: float) -> ir.Constant:
    """Returns a register with the number in every lane."""
    return ir.Constant(vector, [number] * vector.count)


def load(builder: ir.IRBuilder, pointer: ir.Value, vector: ir.VectorType) -> ir.Value:
    """Returns the register read from elements that stand anywhere."""
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=itemsize(vector))


def store(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value) -> None:
    """Writes a register to elements that stand anywhere."""
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=itemsize(value.type))


def multiply_add(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """Returns a b + c, one instruction where the machine has it."""
    return builder.fadd(builder.fmul(a, b, flags=CONTRACT), c, flags=CONTRACT)


def largest(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Returns the larger of a and b in each lane, b where one is NaN."""
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def split(builder: ir.IRBuilder, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Returns (2 ** n, f) with x = n ln 2 + f, n whole and |f| <= ln 2 / 2; NaN stays in f.

    Below the least exponent 2 ** n is 0. Adding 1.5 times 2 ** 23 (2 ** 52) leaves no bits for a fraction: the sum is
    rounded to a whole number, which then stands in its lowest bits, with the bias of an exponent if that is added too.
    """
    vector = x.type
    bias, mantissa = (127, 23) if isinstance(vector.element, ir.FloatType) else (1023, 52)
    least, magic = constant(vector, -bias * math.log(2)), constant(vector, 1.5 * 2.0 ** mantissa + bias)
    x = builder.select(builder.fcmp_ordered("<", x, least), least, x)
    rounded = multiply_add(builder, x, constant(vector, 1 / math.log(2)), magic)
    bits = ir.VectorType(ir.IntType(32 if mantissa == 23 else 64), vector.count)
    power = builder.shl(builder.bitcast(rounded, bits), ir.Constant(bits, [mantissa] * vector.count))
    n = builder.fsub(rounded, magic)
    for part in LN_2[itemsize(vector)]:
        x = multiply_add(builder, n, constant(vector, -part), x)
    return builder.bitcast(power, vector), x


def series(builder: ir.IRBuilder, f: ir.Value) -> ir.Value:
    """Returns (e ** f - 1) / f for |f| <= ln 2 / 2, by its Taylor series."""
    terms = SERIES[itemsize(f.type)]
    total = constant(f.type, terms[-1])
    for term in terms[-2::-1]:
        total = multiply_add(builder, total, f, constant(f.type, term))
    return total


def exp(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns e ** x for x up to 0 and a little more; 0 where it would be below the least normal number, NaN for NaN."""
    power, f = split(builder, x)
    return builder.fmul(multiply_add(builder, series(builder, f), f, constant(x.type, 1.0)), power)


def tanh(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns tanh x = u / (u + 2) with u = e ** (2 x) - 1, right to a few units of the last place at every size."""
    vector = x.type
    y = builder.fadd(x, x)
    for edge, sign in ((42.0, ">"), (-42.0, "<")):
        y = builder.select(builder.fcmp_ordered(sign, y, constant(vector, edge)), constant(vector, edge), y)
    power, f = split(builder, y)
    u = multiply_add(builder, builder.fmul(series(builder, f), f), power,
                     builder.fsub(power, constant(vector, 1.0)))
    return builder.fdiv(u, builder.fadd(u, constant(vector, 2.0)))
