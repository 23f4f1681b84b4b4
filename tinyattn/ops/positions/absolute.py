"""Positions without rotation: sinusoids, ALiBi's slopes, T5's buckets."""

from __future__ import annotations

import math

import numpy as np

from tinyattn.ops.checks import integers, truth, whole
from tinyattn.ops.types import Array


def sinusoidal(positions: Array, width: int) -> Array:
    """Returns sin(p 10000^(-2i/width)) in the even channels and the cosine of the same angle in the odd ones, in float64.

    positions (...) of integers -> (..., width). arXiv:1706.03762.

    Raises:
        ValueError: the width is odd. TypeError: the positions are not integers.

    >>> sinusoidal(np.array([0]), 4)
    array([[0., 1., 0., 1.]])
    """
    if whole("width", width, 0) % 2:
        raise ValueError(f"width: sines and cosines come in pairs, expected an even number, got {width}")
    positions = integers("positions", positions, 0)
    angles = positions[..., None] * 10000.0 ** (-np.arange(0, width, 2) / max(width, 1))
    return np.stack((np.sin(angles), np.cos(angles)), axis=-1).reshape(*positions.shape, width)


def alibi_slopes(heads: int) -> Array:
    """Returns one slope per head: 2^(-8 (h+1) / n) where the number of heads n is a power of two.

    For other numbers, the slopes are those of the next lower power of two n, followed by every second slope of 2 n.
    heads -> (heads,) float64. arXiv:2108.12409.

    >>> alibi_slopes(3)
    array([0.0625    , 0.00390625, 0.25      ])
    """
    heads = whole("heads", heads, 1)
    power = 1 << (heads.bit_length() - 1)

    def of_power(n: int) -> Array:
        return np.asarray(2.0 ** (-8.0 * np.arange(1, n + 1) / n))

    return np.concatenate((of_power(power), of_power(2 * power)[0::2][: heads - power]))


def t5_buckets(distance: Array, *, buckets: int = 32, max_distance: int = 128, causal: bool) -> Array:
    """Returns T5's bucket of each distance (key minus query position): one per short distance, wider ones for long distances.

    Unless causal, each direction has half of the buckets. Of the n buckets of a direction, the first n / 2 hold one distance
    each; the others grow geometrically up to max_distance, and the last one also holds all longer distances.
    distance (...) of integers -> (...) int64. arXiv:1910.10683.

    Raises:
        TypeError: the distances are not integers. ValueError: there are too few buckets, or max_distance is too short.

    >>> t5_buckets(np.array([-128, -8, 0, 1]), causal=False)
    array([15,  8,  0, 17])
    """
    away = integers("distance", distance, 0)
    buckets, max_distance, causal = whole("buckets", buckets, 1), whole("max_distance", max_distance, 1), truth("causal", causal)
    each = buckets if causal else buckets // 2
    exact = each // 2
    if exact < 1 or max_distance <= exact:
        raise ValueError(f"buckets, max_distance: expected at least {2 if causal else 4} buckets and a longer distance, "
                         f"got {buckets} and {max_distance}")
    # Thresholds are computed in integers, because a rounded logarithm is wrong at exact powers: bucket exact + m starts at the
    # least n with n^s >= exact^(s - m) max_distance^m, where s is the number of geometric buckets.
    steps = each - exact
    starts = [threshold(exact, max_distance, m, steps) for m in range(1, steps)]
    n = np.maximum(-away, 0) if causal else np.abs(away)
    bucket = np.where(n < exact, n, exact + np.searchsorted(np.array(starts, np.int64), n, side="right"))
    return bucket if causal else bucket + each * (away > 0)


def threshold(exact: int, farthest: int, m: int, steps: int) -> int:
    """Returns the least int n with n ** steps >= exact ** (steps - m) * farthest ** m."""
    goal = exact ** (steps - m) * farthest ** m
    n = max(int(math.exp(math.log(goal) / steps)) - 2, 1)
    while n > 1 and (n - 1) ** steps >= goal:  # the float may be off by more than 2 where n is beyond 2^50
        n -= 1
    while n ** steps < goal:
        n += 1
    return n
