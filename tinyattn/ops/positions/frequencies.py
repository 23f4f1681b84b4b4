"""Rotary frequencies: how fast each pair of channels rotates, and how they are scaled for longer contexts."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np

from tinyattn.ops.checks import real, truth, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class Frequencies:
    """The angle per position of each rotated pair (the values are copied), and the factor of cos and sin, 1 except for YaRN.

    Raises:
        TypeError, ValueError: the values are not a floating array with one axis, or a value or the factor is not finite.

    >>> Frequencies(np.array([1.0, 0.01])).attention_factor
    1.0
    """

    values: Array
    attention_factor: float = 1.0

    def __post_init__(self) -> None:
        values = floating("values", self.values).astype(np.float64)
        if values.ndim != 1 or not np.isfinite(values).all():
            raise ValueError(f"values: expected one axis of finite numbers, got shape {values.shape}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "attention_factor", real("attention_factor", self.attention_factor))


def plain(dims: int, base: float) -> Array:
    """Returns base ** (-2 i / dims) for each pair i."""
    dims, base = whole("dims", dims, 0), real("base", base, above=1.0)
    if dims % 2:
        raise ValueError(f"dims: rotary rotates pairs and needs an even number, got {dims}")
    return np.asarray(base ** (-np.arange(0, dims, 2, dtype=np.float64) / max(dims, 1)))


def plain_frequencies(dims: int, *, base: float = 10000.0) -> Frequencies:
    """Returns base ** (-2 i / dims): the frequencies of rotary positions without scaling. arXiv:2104.09864.

    >>> plain_frequencies(4).values
    array([1.  , 0.01])
    """
    return Frequencies(plain(dims, base))


def linear_frequencies(dims: int, *, factor: float, base: float = 10000.0) -> Frequencies:
    """Returns the plain frequencies divided by factor, which compresses positions into the trained range. arXiv:2306.15595.

    >>> linear_frequencies(4, factor=2.0).values
    array([0.5  , 0.005])
    """
    return Frequencies(plain(dims, base) / real("factor", factor, least=1.0))


def ntk_frequencies(dims: int, *, factor: float, base: float = 10000.0) -> Frequencies:
    """Returns plain frequencies with a larger base: the slowest is divided by factor, the fastest is unchanged.

    base' = base * factor ** (dims / (dims - 2)).

    >>> float(ntk_frequencies(4, factor=2.0).values[1]) * 2.0 == 0.01
    True
    """
    plain(dims, base)
    base = float(base)
    if dims <= 2:
        raise ValueError(f"dims: NTK scaling needs more than one pair, got {dims}")
    power, factor = dims / (dims - 2), real("factor", factor, least=1.0)
    if math.log(base) + power * math.log(factor) > 700.0:  # exp(709) is the largest float
        raise ValueError(f"factor: expected one that keeps base * factor ** {power:g} a float, got {factor}")
    return Frequencies(plain(dims, base * factor ** power))


def dynamic_ntk_frequencies(dims: int, *, factor: float, original_length: int, length: int,
                            base: float = 10000.0) -> Frequencies:
    """Returns NTK frequencies for the factor that this length needs; up to the original length they are not scaled.

    factor' = factor * L / L0 - (factor - 1), L = max(length, L0). The frequencies change as a sequence grows, so cached keys
    that were rotated at a shorter length are no longer valid.

    >>> dynamic_ntk_frequencies(4, factor=2.0, original_length=8, length=5).values
    array([1.  , 0.01])
    """
    start = whole("original_length", original_length, 1)
    longest, factor = max(whole("length", length, 1), start), real("factor", factor, least=1.0)
    return ntk_frequencies(dims, factor=min(factor * (longest / start) - (factor - 1.0), sys.float_info.max), base=base)


def yarn_frequencies(dims: int, *, factor: float, original_length: int, base: float = 10000.0,
                     beta_fast: float = 32.0, beta_slow: float = 1.0, truncate: bool = True) -> Frequencies:
    """Returns YaRN's frequencies: fast pairs are unchanged, slow pairs are divided by factor, with a ramp in between.

    The ramp runs over the pairs that make beta_fast to beta_slow rotations within the original length. With `truncate` its
    ends are rounded outwards to ints (gpt-oss does not round). cos and sin are multiplied by 0.1 ln(factor) + 1.
    arXiv:2309.00071.

    >>> yarn_frequencies(4, factor=1.0, original_length=64).values
    array([1.  , 0.01])
    """
    values, factor = plain(dims, base), real("factor", factor, least=1.0)
    length = whole("original_length", original_length, 1)

    fast, slow = real("beta_fast", beta_fast, above=0.0), real("beta_slow", beta_slow, above=0.0)
    truncate = truth("truncate", truncate)

    def pair(turns: float) -> float:
        return dims * math.log(length / (2.0 * math.pi * turns)) / (2.0 * math.log(base))

    low, high = pair(fast), pair(slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0.0), min(high, dims - 1.0)
    ramp = np.clip((np.arange(dims // 2) - low) / (high - low if high > low else 0.001), 0.0, 1.0)
    return Frequencies((1.0 - ramp) * values + ramp * values / factor, 0.1 * math.log(factor) + 1.0)


def llama3_frequencies(dims: int, *, factor: float, original_length: int, low: float = 1.0, high: float = 4.0,
                       base: float = 10000.0) -> Frequencies:
    """Returns Llama 3.1's frequencies: divided by factor for wavelengths over L0 / low, unchanged for those under L0 / high.

    In between they are interpolated. L0 is the original length.

    >>> llama3_frequencies(4, factor=1.0, original_length=64).values
    array([1.  , 0.01])
    """
    values, factor = plain(dims, base), real("factor", factor, least=1.0)
    low, high = real("low", low), real("high", high)
    if not 0.0 < low < high:
        raise ValueError(f"low, high: expected 0 < low < high, got {low} and {high}")
    turns = whole("original_length", original_length, 1) * values / (2.0 * math.pi)
    share = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return Frequencies((1.0 - share) * values / factor + share * values)
