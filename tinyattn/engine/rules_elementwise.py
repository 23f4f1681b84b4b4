"""Rules of functions that act on each element by itself."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.arguments import bare
from tinyattn.engine.table import constant, rule

_function: Any  # reused below; without this, type checkers give it the type of the first function
LN2, LN10 = math.log(2.0), math.log(10.0)

rule(np.positive, lambda: lambda g: g)
rule(np.negative, lambda: lambda g: -g)
rule(np.add, lambda: lambda g: g,
             lambda: lambda g: g)
rule(np.subtract, lambda: lambda g: g,
                  lambda: lambda g: -g)
rule(np.multiply, lambda b: lambda g: g * b,
                  lambda a: lambda g: g * a)
rule(np.divide, lambda b: lambda g: g / b,
                lambda result, b: lambda g: -g * result / b)
rule(np.reciprocal, lambda result: lambda g: -g * result * result)
rule(np.square, lambda x: lambda g: 2.0 * g * x)
rule(np.sqrt, lambda result: lambda g: g * 0.5 / result)
rule(np.cbrt, lambda result: lambda g: g / 3.0 / result / result)
for _function in (np.absolute, np.fabs):
    rule(_function, lambda x: lambda g: g * np.sign(x))

rule(np.exp, lambda result: lambda g: g * result)
rule(np.exp2, lambda result: lambda g: g * result * LN2)
rule(np.expm1, lambda result: lambda g: g * (result + 1.0))
rule(np.log, lambda x: lambda g: g / x)
rule(np.log2, lambda x: lambda g: g / (x * LN2))
rule(np.log10, lambda x: lambda g: g / (x * LN10))
rule(np.log1p, lambda x: lambda g: g / (1.0 + x))

rule(np.sin, lambda x: lambda g: g * np.cos(x))
rule(np.cos, lambda x: lambda g: -g * np.sin(x))
rule(np.tan, lambda result: lambda g: g + g * result * result)
rule(np.arcsin, lambda x: lambda g: g / np.sqrt(1.0 - x * x))
rule(np.arccos, lambda x: lambda g: -g / np.sqrt(1.0 - x * x))
rule(np.arctan, lambda x: lambda g: g / (1.0 + x * x))
rule(np.sinh, lambda x: lambda g: g * np.cosh(x))
rule(np.cosh, lambda x: lambda g: g * np.sinh(x))
rule(np.tanh, lambda result: lambda g: g * (1.0 - result * result))
rule(np.arcsinh, lambda x: lambda g: g / np.hypot(x, 1.0))
rule(np.arccosh, lambda x: lambda g: g / (np.sqrt(x - 1.0) * np.sqrt(x + 1.0)))
rule(np.arctanh, lambda x: lambda g: g / (1.0 - x * x))
for _function in (np.deg2rad, np.radians):
    rule(_function, lambda: lambda g: g * (math.pi / 180.0))
for _function in (np.rad2deg, np.degrees):
    rule(_function, lambda: lambda g: g * (180.0 / math.pi))

rule(np.arctan2, lambda a, b: lambda g: g * b / (a * a + b * b),
                 lambda a, b: lambda g: -g * a / (a * a + b * b))
rule(np.hypot, lambda result, a: lambda g: g * a / np.where(result == 0, 1.0, result),
               lambda result, b: lambda g: g * b / np.where(result == 0, 1.0, result))
rule(np.logaddexp, lambda result, a: lambda g: g * share(a, result, np.exp),
                   lambda result, b: lambda g: g * share(b, result, np.exp))
rule(np.logaddexp2, lambda result, a: lambda g: g * share(a, result, np.exp2),
                    lambda result, b: lambda g: g * share(b, result, np.exp2))
for _function in (np.maximum, np.minimum, np.fmax, np.fmin):
    rule(_function, lambda result, a, b: lambda g: g * tied(a, b, result),
                    lambda result, a, b: lambda g: g * tied(b, a, result))
rule(np.copysign, lambda a, b: lambda g: g * np.sign(a) * np.where(np.signbit(b), -1.0, 1.0), None)
for _function in (np.power, np.float_power):
    rule(_function, lambda a, b: lambda g: g * power_slope(a, b),
                    lambda result, a: lambda g: g * result * np.log(np.where(np.greater(a, 0), a, 1.0)))
rule(np.remainder, lambda: lambda g: g,
                   lambda a, b: lambda g: -g * np.floor_divide(a, b))
rule(np.fmod, lambda: lambda g: g,
              lambda a, b: lambda g: -g * np.trunc(a / b))
rule(np.heaviside, lambda: lambda g: None,
                   lambda a: lambda g: g * np.equal(a, 0))
rule(np.nextafter, lambda: lambda g: g,
                   lambda: lambda g: None)
rule(np.conjugate, lambda: lambda g: g)
rule(np.where, None,
     lambda condition: lambda g: np.where(condition, g, 0.0),
     lambda condition: lambda g: np.where(condition, 0.0, g), like=lambda condition, x=None, y=None, /: None)
rule(np.nan_to_num, lambda x: lambda g: np.where(np.isfinite(x), g, 0.0))
rule(np.real_if_close, lambda: lambda g: g)
rule(np.real, lambda: lambda g: g)


def share(a: Any, result: Any, exponential: Any) -> Any:
    """Returns the share of a in the sum whose logarithm is the result; 0 for a sum of zeros."""
    return exponential(np.where(np.isfinite(result), a - np.where(np.isfinite(result), result, 0.0), -np.inf))


def tied(a: Any, b: Any, result: Any) -> Any:
    """Returns 1 where a was chosen, 0.5 where a and b are equal, and 0 where b was chosen."""
    return np.where(np.equal(a, result), np.where(np.equal(b, result), 0.5, 1.0), 0.0).astype(result.dtype)


def power_slope(a: Any, b: Any) -> Any:
    """Returns b a^(b-1), which is 0 for b = 0 whatever a is."""
    lower = np.where(np.equal(b, 0), 1.0, b - 1.0)
    return b * np.power(np.where(np.equal(b, 0), 1.0, a), lower)


def _clip(of: Callable[[Any, Any], Any]) -> Callable[..., Callable[[Any], Any]]:
    """Returns the maker for one argument of clip; `of(below, above)` says which elements its gradient comes from."""
    def maker(a: Any, a_min: Any = None, a_max: Any = None, min: Any = None, max: Any = None) -> Callable[[Any], Any]:
        low, high = a_min if min is None else min, a_max if max is None else max

        def pull(g: Any) -> Any:
            below = np.bool_(False) if low is None else np.less(a, low)
            above = np.bool_(False) if high is None else np.greater(a, high)
            if low is not None and high is not None:
                above = above | (below & np.greater(low, high))
            return np.where(of(below, above), g, 0.0)
        return pull
    return maker


_low, _high = _clip(lambda below, above: below & ~above), _clip(lambda below, above: above)
rule(np.clip, _clip(lambda below, above: ~(below | above)), _low, _high, _low, _high, arrays="a a_min a_max min max")


def _sinc(x: Any) -> Any:
    near = np.less(np.abs(x), 1e-4)  # there the series is exact to the last bit, and sin(y)/y has no slope at 0
    y = np.where(near, 1.0, x) * math.pi
    small = (x * math.pi) ** 2
    return np.where(near, 1.0 - small / 6.0 + small * small / 120.0, np.sin(y) / y)


def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None) -> Any:
    points = bare(xp)
    first = np.clip(np.searchsorted(points, bare(x), side="right") - 1, 0, max(len(points) - 2, 0))
    second = np.minimum(first + 1, len(points) - 1)
    span = xp[second] - xp[first]
    slope = (fp[second] - fp[first]) / np.where(np.equal(span, 0), 1.0, span)
    inside = fp[first] + slope * (x - xp[first])
    low = fp[0] if left is None else left
    high = fp[-1] if right is None else right
    return np.where(np.less(x, points[0]), low, np.where(np.greater(x, points[-1]), high, inside))


rule(np.sinc, body=_sinc)
rule(np.interp, body=_interp, arrays="x xp fp left right")
constant("piecewise constant: its derivative is 0 wherever it exists",
         np.floor, np.ceil, np.rint, np.trunc, np.sign, np.round, np.around, np.fix, np.floor_divide,
         np.spacing)
constant("not a floating number",
         np.isfinite, np.isnan, np.isinf, np.isposinf, np.isneginf, np.signbit, np.equal, np.not_equal, np.less,
         np.less_equal, np.greater, np.greater_equal, np.logical_and, np.logical_or, np.logical_not, np.logical_xor,
         np.isclose, np.allclose, np.array_equal, np.array_equiv, np.isreal, np.iscomplex, np.isrealobj,
         np.iscomplexobj)
