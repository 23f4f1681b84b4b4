"""The error function, which NumPy lacks, to the last digits of float64 and with a gradient."""

from __future__ import annotations

from functools import reduce

import numpy as np

from tinyattn.ops.signature import floating
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array

# Chebyshev series, computed with 40 digits. Terms below 1e-18 were left out.
# erf(z) / z as a function of 2 z^2 - 1, for z from 0 to 1.
NEAR = (1.9509538787653082 / 2, -0.14226120510371365, 0.010035582187599796, -0.0005768764699767485, 2.741993125219606e-05,
        -1.1043175507344507e-06, 3.8488755420345036e-08, -1.1808582533875466e-09, 3.2334215826050907e-11, -7.991015947004549e-13,
        1.799072511396137e-14, -3.7186354877527125e-16, 7.103598527027531e-18)
# log(erfc(z) exp(z^2) / t) as a function of 3 t - 1, with t = 2 / (2 + z), for z from 1 up.
FAR = (-1.7431873789890788 / 2, 0.4125578578540687, 0.01715948121717183, -0.0018831910158454003, -0.0004021475665823962,
       1.1040527818911942e-05, 1.03890820849577e-05, 1.6556332888329343e-07, -3.0561954012308445e-07, -1.2560882126825727e-08,
       1.0076908616497302e-08, 4.727947439237462e-10, -3.6369390178456324e-10, -1.1472552051624495e-11, 1.3832474976651277e-11,
       -5.947733757756696e-14, -5.243997131122245e-13, 3.162075845317449e-14, 1.820809270203519e-14, -2.659210175414362e-15,
       -4.799596355118849e-16, 1.5647643883197927e-16, 1.4636723868358544e-18, -6.849857208858032e-18)
# Beyond this number erfc is 0 in float64.
FARTHEST = 27.3


def series(coefficients: tuple[float, ...], u: Array) -> Array:
    """Returns the Chebyshev series at u, from -1 to 1, by Clenshaw's recurrence.

    >>> series((1.0, 2.0, 3.0), np.array([0.5]))
    array([0.5])
    """
    twice = u + u
    zero = u * 0.0
    last, before = reduce(lambda pair, c: (twice * pair[0] - pair[1] + c, pair[0]), coefficients[:0:-1], (zero, zero))
    return u * last - before + coefficients[0]


def near_erf(x: Array) -> Array:
    """Returns erf(x) for x from -1 to 1, and erf of the nearer end outside."""
    inside = np.clip(x, -1.0, 1.0)
    return inside * series(NEAR, 2.0 * (inside * inside) - 1.0)


def far_erfc(size: Array) -> Array:
    """Returns 1 - erf(size) for sizes from 1 up, with all its digits, and that of 1 below."""
    far = np.clip(size, 1.0, FARTHEST)
    t = 2.0 / (2.0 + far)
    with np.errstate(under="ignore"):
        return t * np.exp(series(FAR, 3.0 * t - 1.0) - far * far)


@widened
def erf(x: Array) -> Array:
    """Returns 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.

    >>> erf(np.array([0.0, 0.5, 40.0])).round(6)
    array([0.    , 0.5205, 1.    ])
    """
    x = floating("x", x)
    size = np.abs(x)
    far = 1.0 - far_erfc(size)
    return np.where(size < 1.0, near_erf(x), np.where(x < 0, -far, far))


@widened
def normal_share(x: Array) -> Array:
    """Returns (1 + erf(x / sqrt(2))) / 2, the share of a normal distribution below x, with all digits where it is small.

    >>> normal_share(np.array([0.0, -40.0, 40.0]))
    array([0.5, 0. , 1. ])
    """
    z = floating("x", x) * 0.5 ** 0.5
    size = np.abs(z)
    tail = 0.5 * far_erfc(size)
    return np.where(size < 1.0, 0.5 + 0.5 * near_erf(z), np.where(z < 0, tail, 1.0 - tail))
