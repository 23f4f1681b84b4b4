"""Normalisation of the last axis: RMS norm, layer norm, and scaling to length 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray

from tinyattn.ops.checks import real
from tinyattn.ops.signature import floating, of_shape
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array

# A sum of squares below the first limit has lost digits; one above the second limit has overflowed.
LIMITS = {np.dtype(kind): (float(np.finfo(kind).tiny / np.finfo(kind).eps), float(np.finfo(kind).max))
          for kind in (np.float32, np.float64)}


def rms_norm(x: Array, weight: Array | None = None, *, epsilon: float = 1e-6) -> Array:
    """Returns x / sqrt(mean(x^2) + epsilon), times weight. x (..., width), weight (width,). arXiv:1910.07467.

    The result is right also where the squares overflow or underflow in the dtype.

    Raises:
        TypeError: an array is not floating. ValueError: the weight has another shape, or epsilon is below 0.

    >>> rms_norm(np.array([3.0, 3.0]), epsilon=0.0)
    array([1., 1.])
    """
    # A fast path for the single row of a decoding step, which takes half the time of the general one.
    if (type(x) is ndarray and type(weight) is ndarray and x.dtype is weight.dtype and x.dtype in LIMITS and x.ndim
            and weight.ndim == 1 and x.size == x.shape[-1] == weight.size > 0 and type(epsilon) is float and epsilon >= 0.0):
        row, width, (least, most) = x.reshape(-1), weight.size, LIMITS[x.dtype]
        with np.errstate(over="ignore", under="ignore"):
            total = float(row.dot(row)) + width * epsilon
        if least <= total <= most:
            normed: Array = x * math.sqrt(width / total)
            return normed * weight
    return rms_norm_of_rows(x, weight, epsilon)


@widened
def rms_norm_of_rows(x: Array, weight: Array | None, epsilon: float) -> Array:
    """Returns `rms_norm` of any number of rows."""
    x, weight, epsilon = check_norm(x, "weight", weight, epsilon)
    width = x.shape[-1]
    if not width:
        return x
    with np.errstate(over="ignore", under="ignore"):  # around this product only, because each ufunc inside takes 2 us longer
        square = np.vecdot(x, x)
    total = square.reshape(*x.shape[:-1], 1) + width * epsilon
    if exact(total, width * epsilon, x):
        normed = x * (width ** 0.5 / np.sqrt(total))
    else:
        normed = scaled_rms_norm(x, epsilon)
    return normed if weight is None else normed * weight


@np.errstate(over="ignore", under="ignore")
def scaled_rms_norm(x: Array, epsilon: float) -> Array:
    """Returns x / sqrt(mean(x^2) + epsilon), computed from rows divided by their magnitude, whose squares cannot overflow."""
    size = magnitude(x, math.sqrt(epsilon))
    scaled = x / size
    return scaled / np.sqrt(np.mean(scaled * scaled, axis=-1, keepdims=True) + (math.sqrt(epsilon) / size) ** 2)


@widened
def layer_norm(x: Array, weight: Array | None = None, bias: Array | None = None, *, epsilon: float = 1e-5) -> Array:
    """Returns (x - mean) / sqrt(variance + epsilon), times weight, plus bias. x (..., width). arXiv:1607.06450.

    The result is right also where sums and squares overflow or underflow in the dtype.

    Raises:
        TypeError: an array is not floating. ValueError: the weight or bias has another shape, or epsilon is below 0.

    >>> layer_norm(np.array([1.0, 3.0]), epsilon=0.0)
    array([-1.,  1.])
    """
    x, weight, epsilon = check_norm(x, "weight", weight, epsilon)
    x, bias, _ = check_norm(x, "bias", bias, epsilon)
    if not x.shape[-1]:
        return x
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        centred = x - np.mean(x, axis=-1, keepdims=True)
        total = np.mean(centred * centred, axis=-1, keepdims=True) + epsilon
    if exact(total, epsilon, x):
        normed = centred * (1.0 / np.sqrt(total))
    else:
        normed = scaled_layer_norm(x, epsilon)
    normed = normed if weight is None else normed * weight
    return normed if bias is None else normed + bias


@np.errstate(over="ignore", under="ignore", invalid="ignore")
def scaled_layer_norm(x: Array, epsilon: float) -> Array:
    """Returns (x - mean) / sqrt(variance + epsilon), computed from rows divided by their magnitude: no square overflows."""
    scaled = x / magnitude(x, 0.0)
    centred = scaled - np.mean(scaled, axis=-1, keepdims=True)
    # Where the numbers are nearly equal, their differences are far smaller than they are, and are scaled once more.
    spread = magnitude(centred, 0.0)
    least = math.sqrt(epsilon) / magnitude(x, 0.0) / spread
    centred = centred / spread
    return centred / np.hypot(np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True)), least)


@widened
def unit(x: Array) -> Array:
    """Returns x / |x|; a vector of zeros stays zeros, with gradient 0. x (..., width).

    The result is right also where the squares overflow or underflow in the dtype.

    Raises:
        TypeError: x is not a floating array. ValueError: x has no axis.

    >>> unit(np.array([3.0, 4.0]))
    array([0.6, 0.8])
    """
    x, _, _ = check_norm(x, "weight", None, 0.0)
    if not x.shape[-1]:
        return x
    with np.errstate(over="ignore", under="ignore"):
        square = np.sum(x * x, axis=-1, keepdims=True)
        if not exact(square, 0.0, x):
            x = x / magnitude(x, 0.0)
            square = np.sum(x * x, axis=-1, keepdims=True)
        zero = square == 0
        return np.where(zero, 0.0, x / np.sqrt(np.where(zero, 1.0, square)))


def exact(total: Array, epsilon: float, x: Array) -> bool:
    """Returns whether all sums of squares plus epsilon are free of overflow and of digits lost to underflow."""
    least, most = LIMITS[x.dtype]
    # Counting takes half the time of .all(), and a decoding step calls this for every norm.
    inside = np.count_nonzero(total <= most) == total.size
    if epsilon < least:  # a larger epsilon keeps every sum large enough
        inside = inside and np.count_nonzero(total >= least) == total.size
    return inside


def magnitude(x: Array, least: float) -> Array:
    """Returns a power of two per row, near its largest number or `least`; 1 for rows of zeros or with inf. No gradient.

    Dividing by a power of two is exact, and the result of a norm does not depend on the divisor.
    """
    largest = np.maximum(np.max(np.abs(x), axis=-1, keepdims=True), least)
    usable = (largest > 0) & (largest <= LIMITS[x.dtype][1])
    # np.floor has no gradient.
    power: Array = np.exp2(np.floor(np.log2(np.where(usable, largest, 1.0).astype(x.dtype))))
    return power


def check_norm(x: Any, name: str, weight: Any, epsilon: Any) -> tuple[Array, Array | None, float]:
    """Returns x, a weight or bias with one number per channel or None, and epsilon, all checked."""
    x = floating("x", x)
    if not x.ndim:
        raise ValueError("x: expected at least one axis, got a single number")
    if type(epsilon) is not float or not 0.0 <= epsilon < math.inf:
        epsilon = real("epsilon", epsilon, least=0.0)
    return x, check_weight(name, weight, x), epsilon


def check_weight(name: str, weight: Any, x: Array) -> Array | None:
    """Returns a weight with one number per channel of x, or None."""
    return None if weight is None else of_shape(name, weight, x.shape[-1:], f" for x {x.shape}")
