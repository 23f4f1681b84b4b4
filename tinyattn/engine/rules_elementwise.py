"""Derivatives of functions that act on each element alone."""

import math
from typing import Any

import numpy as np

from tinyattn.engine.table import composed, constant, rule

LN2, LN10 = math.log(2.0), math.log(10.0)

rule(np.positive, lambda x: lambda g: g)
rule(np.negative, lambda x: lambda g: -g)
rule(np.add, lambda a, b: lambda g: g,
             lambda a, b: lambda g: g)
rule(np.subtract, lambda a, b: lambda g: g,
                  lambda a, b: lambda g: -g)
rule(np.multiply, lambda a, b: lambda g: g * b,
                  lambda a, b: lambda g: g * a)
rule(np.divide, lambda a, b: lambda g: g / b,
                lambda out, a, b: lambda g: -g * out / b)
rule(np.reciprocal, lambda out, x: lambda g: -g * out * out)
rule(np.square, lambda x: lambda g: g * (2.0 * x))
rule(np.sqrt, lambda out, x: lambda g: g * 0.5 / out)
rule(np.cbrt, lambda out, x: lambda g: g / (3.0 * out * out))
rule(np.absolute, lambda x: lambda g: g * np.sign(x))
rule(np.fabs, lambda x: lambda g: g * np.sign(x))

rule(np.exp, lambda out, x: lambda g: g * out)
rule(np.exp2, lambda out, x: lambda g: g * out * LN2)
rule(np.expm1, lambda out, x: lambda g: g * (out + 1.0))
rule(np.log, lambda x: lambda g: g / x)
rule(np.log2, lambda x: lambda g: g / (x * LN2))
rule(np.log10, lambda x: lambda g: g / (x * LN10))
rule(np.log1p, lambda x: lambda g: g / (1.0 + x))

rule(np.sin, lambda x: lambda g: g * np.cos(x))
rule(np.cos, lambda x: lambda g: -g * np.sin(x))
rule(np.tan, lambda out, x: lambda g: g * (1.0 + out * out))
rule(np.arcsin, lambda x: lambda g: g / np.sqrt(1.0 - x * x))
rule(np.arccos, lambda x: lambda g: -g / np.sqrt(1.0 - x * x))
rule(np.arctan, lambda x: lambda g: g / (1.0 + x * x))
rule(np.sinh, lambda x: lambda g: g * np.cosh(x))
rule(np.cosh, lambda x: lambda g: g * np.sinh(x))
rule(np.tanh, lambda out, x: lambda g: g * (1.0 - out * out))
rule(np.arcsinh, lambda x: lambda g: g / np.sqrt(x * x + 1.0))
rule(np.arccosh, lambda x: lambda g: g / np.sqrt(x * x - 1.0))
rule(np.arctanh, lambda x: lambda g: g / (1.0 - x * x))
rule(np.deg2rad, lambda x: lambda g: g * (math.pi / 180.0))
rule(np.radians, lambda x: lambda g: g * (math.pi / 180.0))
rule(np.rad2deg, lambda x: lambda g: g * (180.0 / math.pi))
rule(np.degrees, lambda x: lambda g: g * (180.0 / math.pi))

rule(np.arctan2, lambda y, x: lambda g: g * x / (x * x + y * y),
                 lambda y, x: lambda g: -g * y / (x * x + y * y))
rule(np.hypot, lambda out, a, b: lambda g: g * a / np.where(out == 0, 1.0, out),
               lambda out, a, b: lambda g: g * b / np.where(out == 0, 1.0, out))
rule(np.logaddexp, lambda out, a, b: lambda g: g * share(a, out, np.exp),
                   lambda out, a, b: lambda g: g * share(b, out, np.exp))
rule(np.logaddexp2, lambda out, a, b: lambda g: g * share(a, out, np.exp2),
                    lambda out, a, b: lambda g: g * share(b, out, np.exp2))
rule(np.maximum, lambda out, a, b: lambda g: g * tied(a, b, out),
                 lambda out, a, b: lambda g: g * tied(b, a, out))
rule(np.minimum, lambda out, a, b: lambda g: g * tied(a, b, out),
                 lambda out, a, b: lambda g: g * tied(b, a, out))
rule(np.fmax, lambda out, a, b: lambda g: g * tied(a, b, out),
              lambda out, a, b: lambda g: g * tied(b, a, out))
rule(np.fmin, lambda out, a, b: lambda g: g * tied(a, b, out),
              lambda out, a, b: lambda g: g * tied(b, a, out))
rule(np.copysign, lambda a, b: lambda g: g * np.sign(a) * np.copysign(1.0, plain_sign(b)), None)
rule(np.power, lambda a, b: lambda g: g * power_slope(a, b),
               lambda out, a, b: lambda g: g * out * np.log(np.where(np.greater(a, 0), a, 1.0)))
rule(np.float_power, lambda a, b: lambda g: g * power_slope(a, b),
                     lambda out, a, b: lambda g: g * out * np.log(np.where(np.greater(a, 0), a, 1.0)))
rule(np.remainder, lambda a, b: lambda g: g,
                   lambda a, b: lambda g: -g * np.floor_divide(a, b))
rule(np.fmod, lambda a, b: lambda g: g,
              lambda a, b: lambda g: -g * np.trunc(a / b))
rule(np.where, None,
     lambda condition, a, b: lambda g: np.where(condition, g, 0.0),
     lambda condition, a, b: lambda g: np.where(condition, 0.0, g))
rule(np.nan_to_num, lambda x, copy=True, nan=0.0, posinf=None, neginf=None:
     lambda g: np.where(np.isfinite(x), g, 0.0))
rule(np.real_if_close, lambda x, tol=100: lambda g: g)
rule(np.real, lambda x: lambda g: g)


def share(a: Any, out: Any, exponential: Any) -> Any:
    """Returns the part of a in logaddexp's sum; two of -inf have none."""
    return exponential(np.where(np.isfinite(out), a - np.where(np.isfinite(out), out, 0.0), -np.inf))


def tied(a: Any, b: Any, out: Any) -> Any:
    """Returns where a is the chosen one: 1, and 0.5 where it ties with b."""
    return np.where(np.equal(a, out), np.where(np.equal(b, out), 0.5, 1.0), 0.0).astype(out.dtype)


def plain_sign(x: Any) -> Any:
    """Returns the sign of x with that of zeros, as a constant."""
    return np.where(np.signbit(x), -1.0, 1.0)


def power_slope(a: Any, b: Any) -> Any:
    """Returns b a^(b-1), 0 for b = 0 whatever a is."""
    lower = np.where(np.equal(b, 0), 1.0, b - 1.0)
    return b * np.power(np.where(np.equal(b, 0), 1.0, a), lower)


@composed(np.clip)
def _clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is None and high is None:
        return np.positive(a)
    inside = True if low is None else np.greater_equal(a, low)
    inside = inside & (True if high is None else np.less_equal(a, high))
    bounded = low if high is None else high if low is None else np.where(np.less(a, low), low, high)
    return np.where(inside, a, bounded)


@composed(np.sinc)
def _sinc(x: Any) -> Any:
    near = np.less(np.abs(x), 1e-4)  # there the series is exact to the last bit, and sin(y)/y has no slope at 0
    y = np.where(near, 1.0, x) * math.pi
    small = (x * math.pi) ** 2
    return np.where(near, 1.0 - small / 6.0 + small * small / 120.0, np.sin(y) / y)


@composed(np.interp)
def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    if period is not None:
        raise TypeError("np.interp has no gradient with period=; use .value there if none is needed")
    points = getattr(xp, "_value", xp)
    points = np.asarray(points)
    where = np.clip(np.searchsorted(points, getattr(x, "_value", x), side="right") - 1, 0, len(points) - 2)
    x0, x1 = xp[where], xp[where + 1]
    inside = fp[where] + (fp[where + 1] - fp[where]) * ((x - x0) / (x1 - x0))
    low = fp[0] if left is None else left
    high = fp[-1] if right is None else right
    return np.where(np.less(x, points[0]), low, np.where(np.greater(x, points[-1]), high, inside))


constant("piecewise constant: its derivative is 0 wherever it has one",
         np.floor, np.ceil, np.rint, np.trunc, np.sign, np.round, np.around, np.fix, np.heaviside, np.floor_divide,
         np.spacing, np.nextafter)
constant("not a floating number",
         np.isfinite, np.isnan, np.isinf, np.isposinf, np.isneginf, np.signbit, np.equal, np.not_equal, np.less,
         np.less_equal, np.greater, np.greater_equal, np.logical_and, np.logical_or, np.logical_not, np.logical_xor,
         np.isclose, np.allclose, np.array_equal, np.array_equiv, np.isreal, np.iscomplex, np.isrealobj,
         np.iscomplexobj)
