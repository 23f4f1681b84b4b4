"""Rotary frequencies: how fast each pair turns, and how contexts longer than the trained one slow them down."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class Frequencies:
    """Angles a position for each rotated pair, and the factor of cos and sin (1 but for YaRN)."""

    values: Array
    attention_factor: float = 1.0


def plain(dims: int, base: float) -> Array:
    """Returns base ** (-2 i / dims) for each pair i."""
    if isinstance(dims, bool) or not isinstance(dims, (int, np.integer)):
        raise TypeError(f"dims: expected an int, got {type(dims).__name__}")
    if dims < 0 or dims % 2:
        raise ValueError(f"dims: rotary turns pairs and needs an even number, got {dims}")
    if isinstance(base, (bool, np.bool_)) or not isinstance(base, (int, float, np.integer, np.floating)):
        raise TypeError(f"base: expected a number, got {type(base).__name__}")
    if not (math.isfinite(base) and base > 1.0):
        raise ValueError(f"base: expected a finite number above 1, got {base}")
    return np.asarray(float(base) ** (-np.arange(0, dims, 2, dtype=np.float64) / max(dims, 1)))


def check_factor(factor: float) -> float:
    """Returns the factor of the context, 1 or more."""
    if not (math.isfinite(factor) and factor >= 1.0):
        raise ValueError(f"factor: expected a finite number of 1 or more, got {factor}")
    return float(factor)


def check_length(name: str, length: int) -> int:
    """Returns a length of 1 or more."""
    if length < 1:
        raise ValueError(f"{name}: expected 1 or more, got {length}")
    return int(length)


def plain_frequencies(dims: int, *, base: float = 10000.0) -> Frequencies:
    """Returns base ** (-2 i / dims): the frequencies of unscaled rotary positions. arXiv:2104.09864.

    >>> plain_frequencies(4).values
    array([1.  , 0.01])
    """
    return Frequencies(plain(dims, base))


def linear_frequencies(dims: int, *, factor: float, base: float = 10000.0) -> Frequencies:
    """Returns plain frequencies divided by factor: positions squeezed into the trained range. arXiv:2306.15595.

    >>> linear_frequencies(4, factor=2.0).values
    array([0.5  , 0.005])
    """
    return Frequencies(plain(dims, base) / check_factor(factor))


def ntk_frequencies(dims: int, *, factor: float, base: float = 10000.0) -> Frequencies:
    """Returns plain frequencies of the base raised so that the slowest is divided by factor, the fastest kept.

    base' = base * factor ** (dims / (dims - 2)).

    >>> float(ntk_frequencies(4, factor=2.0).values[1]) * 2.0 == 0.01
    True
    """
    plain(dims, base)
    if dims <= 2:
        raise ValueError(f"dims: NTK scaling needs more than one pair, got {dims}")
    return Frequencies(plain(dims, float(base) * check_factor(factor) ** (dims / (dims - 2))))


def dynamic_ntk_frequencies(dims: int, *, factor: float, original_length: int, length: int,
                            base: float = 10000.0) -> Frequencies:
    """Returns NTK frequencies for the factor that this length needs; unscaled up to the original length.

    factor' = factor * L / L0 - (factor - 1), L = max(length, L0). They change as a sequence grows, so keys that were
    rotated before and cached no longer fit.

    >>> dynamic_ntk_frequencies(4, factor=2.0, original_length=8, length=5).values
    array([1.  , 0.01])
    """
    start = check_length("original_length", original_length)
    longest = max(check_length("length", length), start)
    return ntk_frequencies(dims, factor=check_factor(factor) * longest / start - (factor - 1.0), base=base)


def yarn_frequencies(dims: int, *, factor: float, original_length: int, base: float = 10000.0,
                     beta_fast: float = 32.0, beta_slow: float = 1.0, truncate: bool = True) -> Frequencies:
    """Returns YaRN's frequencies: fast pairs kept, slow pairs divided by factor, a ramp between.

    The ramp runs over the pairs that turn beta_fast to beta_slow times in the original length, to whole pairs if
    `truncate` (gpt-oss keeps the reals). cos and sin are multiplied by 0.1 ln(factor) + 1. arXiv:2309.00071.

    >>> yarn_frequencies(4, factor=1.0, original_length=64).values
    array([1.  , 0.01])
    """
    values, factor = plain(dims, base), check_factor(factor)
    length = check_length("original_length", original_length)

    def pair(turns: float) -> float:
        return dims * math.log(length / (2.0 * math.pi * turns)) / (2.0 * math.log(base))

    low, high = pair(beta_fast), pair(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0.0), min(high, dims - 1.0)
    ramp = np.clip((np.arange(dims // 2) - low) / (high - low if high > low else 0.001), 0.0, 1.0)
    return Frequencies((1.0 - ramp) * values + ramp * values / factor, 0.1 * math.log(factor) + 1.0)


def llama3_frequencies(dims: int, *, factor: float, original_length: int, low: float = 1.0, high: float = 4.0,
                       base: float = 10000.0) -> Frequencies:
    """Returns Llama 3.1's frequencies: wavelengths under L0 / high kept, over L0 / low divided, blended between.

    >>> llama3_frequencies(4, factor=1.0, original_length=64).values
    array([1.  , 0.01])
    """
    values, factor = plain(dims, base), check_factor(factor)
    if not 0.0 < low < high:
        raise ValueError(f"low, high: expected 0 < low < high, got {low} and {high}")
    turns = check_length("original_length", original_length) * values / (2.0 * math.pi)
    share = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return Frequencies((1.0 - share) * values / factor + share * values)
