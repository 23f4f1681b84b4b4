"""Derivatives of functions that act on each element alone."""

import math
from typing import Any

import numpy as np

from tinyattn.engine.arguments import plain, tensors_in
from tinyattn.engine.table import composed, constant, plainly, rule

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
                lambda result, a, b: lambda g: -g * result / b)
rule(np.reciprocal, lambda result, x: lambda g: -g * result * result)
rule(np.square, lambda x: lambda g: 2.0 * g * x)
rule(np.sqrt, lambda result, x: lambda g: g * 0.5 / result)
rule(np.cbrt, lambda result, x: lambda g: g / 3.0 / result / result)
rule(np.absolute, lambda x: lambda g: g * np.sign(x))
rule(np.fabs, lambda x: lambda g: g * np.sign(x))

rule(np.exp, lambda result, x: lambda g: g * result)
rule(np.exp2, lambda result, x: lambda g: g * result * LN2)
rule(np.expm1, lambda result, x: lambda g: g * (result + 1.0))
rule(np.log, lambda x: lambda g: g / x)
rule(np.log2, lambda x: lambda g: g / (x * LN2))
rule(np.log10, lambda x: lambda g: g / (x * LN10))
rule(np.log1p, lambda x: lambda g: g / (1.0 + x))

rule(np.sin, lambda x: lambda g: g * np.cos(x))
rule(np.cos, lambda x: lambda g: -g * np.sin(x))
rule(np.tan, lambda result, x: lambda g: g + g * result * result)
rule(np.arcsin, lambda x: lambda g: g / np.sqrt(1.0 - x * x))
rule(np.arccos, lambda x: lambda g: -g / np.sqrt(1.0 - x * x))
rule(np.arctan, lambda x: lambda g: g / (1.0 + x * x))
rule(np.sinh, lambda x: lambda g: g * np.cosh(x))
rule(np.cosh, lambda x: lambda g: g * np.sinh(x))
rule(np.tanh, lambda result, x: lambda g: g * (1.0 - result * result))
rule(np.arcsinh, lambda x: lambda g: g / np.hypot(x, 1.0))
rule(np.arccosh, lambda x: lambda g: g / (np.sqrt(x - 1.0) * np.sqrt(x + 1.0)))
rule(np.arctanh, lambda x: lambda g: g / (1.0 - x * x))
rule(np.deg2rad, lambda x: lambda g: g * (math.pi / 180.0))
rule(np.radians, lambda x: lambda g: g * (math.pi / 180.0))
rule(np.rad2deg, lambda x: lambda g: g * (180.0 / math.pi))
rule(np.degrees, lambda x: lambda g: g * (180.0 / math.pi))

rule(np.arctan2, lambda y, x: lambda g: g * x / (x * x + y * y),
                 lambda y, x: lambda g: -g * y / (x * x + y * y))
rule(np.hypot, lambda result, a, b: lambda g: g * a / np.where(result == 0, 1.0, result),
               lambda result, a, b: lambda g: g * b / np.where(result == 0, 1.0, result))
rule(np.logaddexp, lambda result, a, b: lambda g: g * share(a, result, np.exp),
                   lambda result, a, b: lambda g: g * share(b, result, np.exp))
rule(np.logaddexp2, lambda result, a, b: lambda g: g * share(a, result, np.exp2),
                    lambda result, a, b: lambda g: g * share(b, result, np.exp2))
rule(np.maximum, lambda result, a, b: lambda g: g * tied(a, b, result),
                 lambda result, a, b: lambda g: g * tied(b, a, result))
rule(np.minimum, lambda result, a, b: lambda g: g * tied(a, b, result),
                 lambda result, a, b: lambda g: g * tied(b, a, result))
rule(np.fmax, lambda result, a, b: lambda g: g * tied(a, b, result),
              lambda result, a, b: lambda g: g * tied(b, a, result))
rule(np.fmin, lambda result, a, b: lambda g: g * tied(a, b, result),
              lambda result, a, b: lambda g: g * tied(b, a, result))
rule(np.copysign, lambda a, b: lambda g: g * np.sign(a) * np.copysign(1.0, plain_sign(b)), None)
rule(np.power, lambda a, b: lambda g: g * power_slope(a, b),
               lambda result, a, b: lambda g: g * result * np.log(np.where(np.greater(a, 0), a, 1.0)))
rule(np.float_power, lambda a, b: lambda g: g * power_slope(a, b),
                     lambda result, a, b: lambda g: g * result * np.log(np.where(np.greater(a, 0), a, 1.0)))
rule(np.remainder, lambda a, b: lambda g: g,
                   lambda a, b: lambda g: -g * np.floor_divide(a, b))
rule(np.fmod, lambda a, b: lambda g: g,
              lambda a, b: lambda g: -g * np.trunc(a / b))
rule(np.heaviside, lambda a, b: lambda g: None,
                   lambda a, b: lambda g: g * np.equal(a, 0))
rule(np.nextafter, lambda a, b: lambda g: g,
                   lambda a, b: lambda g: None)
rule(np.conjugate, lambda x: lambda g: g)
rule(np.where, None,
     lambda condition, x=None, y=None, /: lambda g: np.where(condition, g, 0.0),
     lambda condition, x=None, y=None, /: lambda g: np.where(condition, 0.0, g), arrays="condition x y")
plainly(np.where, lambda args, options: len(args) == 1)  # it gives the places of what is not 0
rule(np.nan_to_num, lambda x, copy=True, nan=0.0, posinf=None, neginf=None:
     lambda g: np.where(np.isfinite(x), g, 0.0))
rule(np.real_if_close, lambda a, tol=100: lambda g: g)
rule(np.real, lambda val: lambda g: g)


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


@composed(np.clip, arrays="a a_min a_max min max")
def _clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None,
          **kwargs: Any) -> Any:
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is not None and high is not None and not tensors_in((low, high)):
        return np.where(np.less(a, low) | np.greater(a, high), 0.0, a)  # the way back alone is asked for
    if low is not None:
        a = np.where(np.less(a, low), low, a)
    return np.positive(a) if high is None else np.where(np.greater(a, high), high, a)


@composed(np.sinc)
def _sinc(x: Any) -> Any:
    near = np.less(np.abs(x), 1e-4)  # there the series is exact to the last bit, and sin(y)/y has no slope at 0
    y = np.where(near, 1.0, x) * math.pi
    small = (x * math.pi) ** 2
    return np.where(near, 1.0 - small / 6.0 + small * small / 120.0, np.sin(y) / y)


@composed(np.interp, arrays="x xp fp left right")
def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    points = plain(xp)
    first = np.clip(np.searchsorted(points, plain(x), side="right") - 1, 0, max(len(points) - 2, 0))
    second = np.minimum(first + 1, len(points) - 1)
    span = xp[second] - xp[first]
    slope = (fp[second] - fp[first]) / np.where(np.equal(span, 0), 1.0, span)
    inside = fp[first] + slope * (x - xp[first])
    low = fp[0] if left is None else left
    high = fp[-1] if right is None else right
    return np.where(np.less(x, points[0]), low, np.where(np.greater(x, points[-1]), high, inside))


constant("piecewise constant: its derivative is 0 wherever it has one",
         np.floor, np.ceil, np.rint, np.trunc, np.sign, np.round, np.around, np.fix, np.floor_divide,
         np.spacing)
constant("not a floating number",
         np.isfinite, np.isnan, np.isinf, np.isposinf, np.isneginf, np.signbit, np.equal, np.not_equal, np.less,
         np.less_equal, np.greater, np.greater_equal, np.logical_and, np.logical_or, np.logical_not, np.logical_xor,
         np.isclose, np.allclose, np.array_equal, np.array_equiv, np.isreal, np.iscomplex, np.isrealobj,
         np.iscomplexobj)
