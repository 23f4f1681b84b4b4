"""Each operation of an expression on registers: arithmetic and the functions that registers have, or one call per lane."""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir

from tinyattn.kernels.tiles import lanes

Step = Callable[..., ir.Value]
BIT = ir.IntType(1)


def constant(x: ir.Value, number: float) -> ir.Value:
    """Returns a register of the type of x with a number in every lane."""
    return lanes.constant(x.type, number)


def intrinsic(name: str) -> Step:
    """Returns the step of a function that LLVM has for registers."""
    def step(b: ir.IRBuilder, *x: ir.Value) -> ir.Value:
        vector = x[0].type
        called = f"llvm.{name}.v{vector.count}f{8 * lanes.itemsize(vector)}"
        function = b.module.globals.get(called) or ir.Function(b.module, ir.FunctionType(vector, [vector] * len(x)), called)
        return b.call(function, x)

    return step


def by_lane(name: str) -> Step:
    """Returns the step of a function of the C library, called for each lane."""
    def step(b: ir.IRBuilder, *x: ir.Value) -> ir.Value:
        element, index = x[0].type.element, ir.IntType(32)
        called = name + ("f" if isinstance(element, ir.FloatType) else "")
        function = b.module.globals.get(called) or ir.Function(b.module, ir.FunctionType(element, [element] * len(x)), called)
        out: ir.Value = ir.Constant(x[0].type, ir.Undefined)
        for lane in range(x[0].type.count):
            one = b.call(function, [b.extract_element(a, index(lane)) for a in x])
            out = b.insert_element(out, one, index(lane))
        return out

    return step


def compared(sign: str, *, ordered: bool = True) -> Step:
    """Returns the step of a comparison, false where a number is NaN, or true if it is not `ordered`."""
    return lambda b, x, y: (b.fcmp_ordered if ordered else b.fcmp_unordered)(sign, x, y)


def is_nan(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns where x is NaN."""
    return b.fcmp_unordered("uno", x, x)


def chosen(sign: str, *, nan: int) -> Step:
    """Returns the step of the larger or smaller of two; where argument `nan` is NaN the first is chosen."""
    def step(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
        return b.select(b.or_(b.fcmp_ordered(sign, x, y), is_nan(b, (x, y)[nan])), x, y)

    return step


def exp(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns e ** x of any x: the square of e ** (x / 2), which is infinite where e ** x is."""
    half = b.fmul(x, constant(x, 0.5))
    most = constant(x, 80.0 if isinstance(x.type.element, ir.FloatType) else 700.0)
    half = b.select(b.fcmp_ordered(">", half, most), most, half)
    root = lanes.exp(b, half)
    return b.fmul(root, root)


def log(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns ln x: x = 2 ** n m with m near 1, and ln m = 2 (t + t^3 / 3 + t^5 / 5 + ...) with t = (m - 1) / (m + 1)."""
    single = isinstance(x.type.element, ir.FloatType)
    width, mantissa, bias, terms = (32, 23, 127, 6) if single else (64, 52, 1023, 13)
    bits = ir.VectorType(ir.IntType(width), x.type.count)

    def whole(value: int) -> ir.Constant:
        return ir.Constant(bits, [value] * bits.count)

    least = constant(x, 2.0 ** (1 - bias))
    tiny = b.fcmp_ordered("<", x, least)
    y = b.select(tiny, b.fmul(x, constant(x, 2.0 ** (mantissa + 1))), x)
    # Subtracting the bits of sqrt(1/2) leaves in the exponent's place the n for which m is from sqrt(1/2) to sqrt(2).
    root_half = 0x3F3504F3 if single else 0x3FE6A09E667F3BCD
    raw = b.bitcast(y, bits)
    n = b.ashr(b.sub(raw, whole(root_half)), whole(mantissa))
    m = b.bitcast(b.sub(raw, b.shl(n, whole(mantissa))), x.type)
    exponent = b.fsub(b.sitofp(n, x.type), b.select(tiny, constant(x, mantissa + 1.0), constant(x, 0.0)))
    f = b.fsub(m, constant(x, 1.0))
    t = b.fdiv(f, b.fadd(f, constant(x, 2.0)))
    square = b.fmul(t, t)
    total = constant(x, 2.0 / (2 * terms + 1))
    for k in range(terms - 1, 0, -1):
        total = lanes.multiply_add(b, total, square, constant(x, 2.0 / (2 * k + 1)))
    # ln m = f - t (f - 2 (t^2 / 3 + t^4 / 5 + ...)): f is exact, and what is taken from it is small.
    series = b.fsub(f, b.fmul(t, b.fsub(f, b.fmul(total, square))))
    high, low = lanes.LN_2[4 if single else 8]
    out = b.fadd(b.fadd(series, b.fmul(exponent, constant(x, low))), b.fmul(exponent, constant(x, high)))
    out = b.select(b.fcmp_ordered("<", x, constant(x, math.inf)), out, x)
    out = b.select(b.fcmp_ordered("==", x, constant(x, 0.0)), constant(x, -math.inf), out)
    return b.select(b.fcmp_ordered("<", x, constant(x, 0.0)), constant(x, math.nan), out)


def log1p(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns ln (1 + x): ln u times x / (u - 1) with u = 1 + x rounded, which is x where u is 1."""
    one = constant(x, 1.0)
    u = b.fadd(x, one)
    moved = b.fsub(u, one)
    safe = b.select(b.fcmp_ordered("==", moved, constant(x, 0.0)), one, moved)
    scaled = b.fmul(log(b, u), b.fdiv(x, safe))
    out = b.select(b.fcmp_ordered("==", moved, constant(x, 0.0)), x, scaled)
    return b.select(b.fcmp_ordered("<", u, constant(x, math.inf)), out, log(b, u))


def logaddexp(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """Returns ln (e ** x + e ** y); the larger of two infinities."""
    top = MAXIMUM(b, x, y)
    apart = intrinsic("fabs")(b, b.fsub(x, y))
    out = b.fadd(top, log1p(b, exp(b, b.fneg(apart))))
    return b.select(b.fcmp_ordered("==", x, y), b.fadd(x, constant(x, math.log(2.0))), out)


def power(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """Returns x ** y; an exponent that belongs to the operation is products, a division and a root."""
    if not isinstance(y, ir.Constant):
        return by_lane("pow")(b, x, y)
    given = y.constant[0]
    signed = float(getattr(given, "constant", given))
    exponent = abs(signed)
    whole, root = int(exponent), exponent % 1
    out = None if whole or root else constant(x, 1.0)
    for _ in range(whole):
        out = x if out is None else b.fmul(out, x)
    if root:
        out = intrinsic("sqrt")(b, x) if out is None else b.fmul(out, intrinsic("sqrt")(b, x))
    return b.fdiv(constant(x, 1.0), out) if signed < 0 else out


def sign(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns -1, 0 or 1; NaN for NaN."""
    zero = constant(x, 0.0)
    below = b.select(b.fcmp_ordered("<", x, zero), constant(x, -1.0), b.select(is_nan(b, x), x, zero))
    return b.select(b.fcmp_ordered(">", x, zero), constant(x, 1.0), below)


def remainder(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """Returns x - floor(x / y) y, with the sign of y."""
    rest = by_lane("fmod")(b, x, y)
    zero = constant(x, 0.0)
    other = b.xor(b.fcmp_ordered("<", rest, zero), b.fcmp_ordered("<", y, zero))
    moved = b.and_(other, b.fcmp_ordered("!=", rest, zero))
    return b.select(moved, b.fadd(rest, y), rest)


def floor_divide(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """Returns floor(x / y) by way of the remainder, which is exact."""
    quotient = b.fdiv(b.fsub(x, remainder(b, x, y)), y)
    return intrinsic("rint")(b, quotient)


def clip(b: ir.IRBuilder, x: ir.Value, low: ir.Value | None, high: ir.Value | None) -> ir.Value:
    """Returns x between two bounds, of which one may be missing; the upper one where they cross."""
    x = x if low is None else MAXIMUM(b, x, low)
    return x if high is None else MINIMUM(b, x, high)


def is_infinite(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns where x is infinite."""
    return b.fcmp_ordered("==", intrinsic("fabs")(b, x), constant(x, math.inf))


def nan_to_num(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns x with 0 in the place of NaN, and the largest numbers in that of the infinities."""
    most = 3.4028234663852886e38 if isinstance(x.type.element, ir.FloatType) else 1.7976931348623157e308
    bounded = clip(b, x, constant(x, -most), constant(x, most))
    return b.select(is_nan(b, x), constant(x, 0.0), bounded)


def logical_not(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """Returns where x is false."""
    return b.xor(x, ir.Constant(x.type, [1] * x.type.count))


def times(factor: float) -> Step:
    """Returns the step of a multiplication by a number."""
    return lambda b, x: b.fmul(x, constant(x, factor))


MAXIMUM, MINIMUM = chosen(">", nan=0), chosen("<", nan=0)
STEPS: dict[str, Step] = {
    "positive": lambda b, x: x, "negative": lambda b, x: b.fneg(x), "add": lambda b, x, y: b.fadd(x, y, flags=lanes.CONTRACT),
    "subtract": lambda b, x, y: b.fsub(x, y, flags=lanes.CONTRACT), "multiply": lambda b, x, y: b.fmul(x, y, flags=lanes.CONTRACT),
    "divide": lambda b, x, y: b.fdiv(x, y), "reciprocal": lambda b, x: b.fdiv(constant(x, 1.0), x),
    "square": lambda b, x: b.fmul(x, x), "sqrt": intrinsic("sqrt"), "absolute": intrinsic("fabs"), "floor": intrinsic("floor"),
    "ceil": intrinsic("ceil"), "trunc": intrinsic("trunc"), "rint": intrinsic("rint"), "fix": intrinsic("trunc"),
    "copysign": intrinsic("copysign"), "exp": exp, "tanh": lanes.tanh, "log": log, "log1p": log1p, "logaddexp": logaddexp,
    "power": power, "sign": sign, "remainder": remainder, "floor_divide": floor_divide, "clip": clip, "nan_to_num": nan_to_num,
    "maximum": MAXIMUM, "minimum": MINIMUM, "fmax": chosen(">", nan=1), "fmin": chosen("<", nan=1),
    "deg2rad": times(math.pi / 180.0), "rad2deg": times(180.0 / math.pi),
    "where": lambda b, condition, x, y: b.select(condition, x, y),
    "equal": compared("=="), "not_equal": compared("!=", ordered=False), "less": compared("<"), "less_equal": compared("<="),
    "greater": compared(">"), "greater_equal": compared(">="), "isnan": is_nan, "isinf": is_infinite,
    "isfinite": lambda b, x: b.fcmp_ordered("<", intrinsic("fabs")(b, x), constant(x, math.inf)),
    "isposinf": lambda b, x: b.fcmp_ordered("==", x, constant(x, math.inf)),
    "isneginf": lambda b, x: b.fcmp_ordered("==", x, constant(x, -math.inf)),
    "signbit": lambda b, x: b.fcmp_ordered("<", intrinsic("copysign")(b, constant(x, 1.0), x), constant(x, 0.0)),
    "logical_and": lambda b, x, y: b.and_(x, y), "logical_or": lambda b, x, y: b.or_(x, y),
    "logical_xor": lambda b, x, y: b.xor(x, y), "logical_not": logical_not,
    **{name: by_lane(c) for name, c in (
        ("sin", "sin"), ("cos", "cos"), ("tan", "tan"), ("arcsin", "asin"), ("arccos", "acos"), ("arctan", "atan"),
        ("arctan2", "atan2"), ("sinh", "sinh"), ("cosh", "cosh"), ("arcsinh", "asinh"), ("arccosh", "acosh"), ("arctanh", "atanh"),
        ("exp2", "exp2"), ("expm1", "expm1"), ("log2", "log2"), ("log10", "log10"), ("cbrt", "cbrt"), ("hypot", "hypot"),
        ("fmod", "fmod"))},
}
LOGICAL = frozenset({"logical_and", "logical_or", "logical_xor", "logical_not"})


def compiles(name: str) -> bool:
    """Returns whether there is a step for an operation."""
    return name in STEPS


def emitted(b: ir.IRBuilder, name: str, arguments: list[ir.Value | None], vector: ir.VectorType) -> ir.Value:
    """Returns an operation on registers of numbers and bools; bools become 0 and 1 where numbers are wanted, and back."""
    def as_number(x: ir.Value | None) -> ir.Value | None:
        return b.uitofp(x, vector) if x is not None and x.type.element == BIT else x

    def as_bool(x: ir.Value) -> ir.Value:
        return x if x.type.element == BIT else b.fcmp_unordered("!=", x, lanes.constant(vector, 0.0))

    if name in LOGICAL:
        arguments = [as_bool(x) for x in arguments if x is not None]
    elif name == "where":
        first, *rest = arguments
        both = all(x is not None and x.type.element == BIT for x in rest)
        arguments = [first and as_bool(first), *(rest if both else map(as_number, rest))]
    else:
        arguments = list(map(as_number, arguments))
    return STEPS[name](b, *arguments)
