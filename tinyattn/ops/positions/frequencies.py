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
    """The angle per position of each rotated pair (the values are copied), and the factor of cos and sin, 1 unless scaled.

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


@dataclass(frozen=True, eq=False)
class FrequenciesByLength:
    """The frequencies of texts of at most `original_length` tokens, `short`, and those of longer texts, `long`.

    Raises:
        TypeError, ValueError: an original length that is not an int above 0, frequencies of different numbers of pairs.

    >>> one, two = plain_frequencies(4), linear_frequencies(4, factor=2.0)
    >>> FrequenciesByLength(one, two, 8).of(9) is two
    True
    """

    short: Frequencies
    long: Frequencies
    original_length: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "original_length", whole("original_length", self.original_length, 1))
        for name, each in (("short", self.short), ("long", self.long)):
            if not isinstance(each, Frequencies):
                raise TypeError(f"{name}: expected Frequencies, got {type(each).__name__}")
        if self.short.values.shape != self.long.values.shape:
            raise ValueError(f"long: expected {len(self.short.values)} pairs as in short, got {len(self.long.values)}")

    def of(self, length: int) -> Frequencies:
        """Returns the frequencies of a text of this length."""
        return self.long if length > self.original_length else self.short


def plain(dims: int, base: float) -> Array:
    """Returns base ** (-2 i / dims) for each pair i."""
    dims, base = whole("dims", dims, 0), real("base", base, above=1.0)
    if dims % 2:
        raise ValueError(f"dims: expected an even number, as rotary positions rotate pairs of channels, got {dims}")
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


def yarn_scale(factor: float, by: float = 1.0) -> float:
    """Returns 0.1 by ln(factor) + 1, by which YaRN multiplies queries and keys; 1 for factors up to 1.

    >>> yarn_scale(1.0, 0.7), round(yarn_scale(4.0), 3)
    (1.0, 1.139)
    """
    return 0.1 * by * math.log(factor) + 1.0 if factor > 1.0 else 1.0


def yarn_frequencies(dims: int, *, factor: float, original_length: int, base: float = 10000.0,
                     beta_fast: float = 32.0, beta_slow: float = 1.0, truncate: bool = True, attention_factor: float | None = None,
                     mscale: float | None = None, mscale_all_dim: float | None = None) -> Frequencies:
    """Returns YaRN's frequencies: fast pairs are unchanged, slow pairs are divided by factor, with a ramp in between.

    Formula: f_i (1 - r_i + r_i / factor), f_i the plain frequency of pair i and r_i = (i - low) / (high - low), held between 0 and
    1. low and high are the pairs that make beta_fast and beta_slow rotations within the original length L0: the pair
    dims ln(L0 / (2 pi beta)) / (2 ln base) makes beta of them. With `truncate` both are rounded outwards to ints (gpt-oss does
    not round).

    cos and sin are multiplied by `attention_factor`, which is 0.1 ln(factor) + 1 unless given. DeepSeek's models divide
    (0.1 mscale ln(factor) + 1) by (0.1 mscale_all_dim ln(factor) + 1) instead, and multiply the scale of their attention by the
    square of the divisor. arXiv:2309.00071.

    Raises:
        ValueError: one of mscale and mscale_all_dim without the other, or beside an attention factor; numbers out of range.

    >>> yarn_frequencies(4, factor=1.0, original_length=64).values
    array([1.  , 0.01])
    >>> yarn_frequencies(4, factor=4.0, original_length=64, mscale=1.0, mscale_all_dim=1.0).attention_factor
    1.0
    """
    values, factor = plain(dims, base), real("factor", factor, least=1.0)
    length = whole("original_length", original_length, 1)

    fast, slow = real("beta_fast", beta_fast, above=0.0), real("beta_slow", beta_slow, above=0.0)
    truncate = truth("truncate", truncate)
    turned = attention_factor_of(factor, attention_factor, mscale, mscale_all_dim)

    def pair(turns: float) -> float:
        return dims * math.log(length / (2.0 * math.pi * turns)) / (2.0 * math.log(base))

    low, high = pair(fast), pair(slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0.0), min(high, dims - 1.0)
    ramp = np.clip((np.arange(dims // 2) - low) / (high - low if high > low else 0.001), 0.0, 1.0)
    return Frequencies((1.0 - ramp) * values + ramp * values / factor, turned)


def attention_factor_of(factor: float, given: float | None, of_angles: float | None, of_all: float | None) -> float:
    """Returns the factor of cos and sin in YaRN: the one that is given, the quotient of two, or that of the factor."""
    own = None if given is None else real("attention_factor", given, above=0.0)
    both = [None if x is None else real(name, x, least=0.0) for name, x in (("mscale", of_angles), ("mscale_all_dim", of_all))]
    if own is not None and both != [None, None]:
        raise ValueError("attention_factor, mscale: expected one of them, got both")
    if (both[0] is None) != (both[1] is None):
        raise ValueError(f"mscale, mscale_all_dim: expected both or neither, got {of_angles} and {of_all}")
    if own is not None:
        return own
    return yarn_scale(factor) if both[0] is None or both[1] is None else yarn_scale(factor, both[0]) / yarn_scale(factor, both[1])


def longrope_frequencies(dims: int, *, short: Array, long: Array, length: int, original_length: int, factor: float,
                         base: float = 10000.0, attention_factor: float | None = None) -> Frequencies:
    """Returns LongRoPE's frequencies: each plain frequency divided by a factor of its own, of two lists by the length of the text.

    `short` divides up to the original length, and `long` beyond it, so that keys which were rotated before a text grew past it are
    no longer valid. cos and sin are multiplied by `attention_factor`, which is sqrt(1 + ln(factor) / ln(original_length)) unless
    given; `factor` is how many times the original length the longest text has. Shapes: short and long (dims / 2,).
    arXiv:2402.13753.

    Raises:
        TypeError, ValueError: lists that are not floating arrays of dims / 2 numbers above 0; numbers out of range.

    >>> one, two = np.array([1.0, 1.0]), np.array([1.0, 2.0])
    >>> longrope_frequencies(4, short=one, long=two, length=9, original_length=8, factor=1.0).values
    array([1.   , 0.005])
    """
    values, factor = plain(dims, base), real("factor", factor, least=1.0)
    start = whole("original_length", original_length, 2)
    divisors = {name: floating(name, given).astype(np.float64) for name, given in (("short", short), ("long", long))}
    for name, each in divisors.items():
        if each.shape != values.shape or not (np.isfinite(each) & (each > 0)).all():
            raise ValueError(f"{name}: expected {len(values)} finite numbers above 0, one per pair, got shape {each.shape}")
    turned = (math.sqrt(1.0 + math.log(factor) / math.log(start)) if attention_factor is None
              else real("attention_factor", attention_factor, above=0.0))
    return Frequencies(values / divisors["long" if whole("length", length, 1) > start else "short"], turned)


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
