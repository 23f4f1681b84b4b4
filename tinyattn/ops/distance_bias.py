"""Biases of published models that depend on the distance between a query and a key: KERPLE, Sandwich, FIRE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyattn.ops.bias import Bias, owned
from tinyattn.ops.checks import is_number, real, whole
from tinyattn.ops.signature import floating, of_shape
from tinyattn.ops.storage import to_single
from tinyattn.ops.types import Array


def kerple_log(strength: Array, slope: Array) -> Bias:
    """Returns the bias -strength_h log(1 + slope_h |p_i - p_j|), the logarithmic kernel of KERPLE, whose numbers are learned.

    strength and slope (heads,), above 0, have gradients. In the paper they are r_1 and r_2. arXiv:2205.09921.

    Raises:
        TypeError, ValueError: arrays that are not floating, of different shapes, or with a number that is not finite and above 0.

    >>> kerple_log(np.array([2.0]), np.array([1.0])).dense(1, 2).round(3)
    array([[[-1.386, -0.   ]]])
    """
    strength, slope = of_heads(strength=strength, slope=slope)

    def of(distance: Array) -> Array:
        heads = (-1, *[1] * distance.ndim)
        return -strength.reshape(heads) * np.log(1.0 + slope.reshape(heads) * np.abs(distance).astype(slope.dtype))

    return Bias(of)


def kerple_power(strength: Array, exponent: Array) -> Bias:
    """Returns the bias -strength_h |p_i - p_j| ** exponent_h, the power kernel of KERPLE; with an exponent of 1 it is ALiBi.

    strength (heads,) above 0 and exponent (heads,) above 0, at most 2, have gradients. In the paper they are r_1 and r_2.
    arXiv:2205.09921.

    Raises:
        TypeError, ValueError: arrays that are not floating, of different shapes, or with a number out of range.

    >>> kerple_power(np.array([1.0]), np.array([2.0])).dense(1, 3)
    array([[[-4., -1., -0.]]])
    """
    strength, exponent = of_heads(strength=strength, exponent=exponent)
    if np.any(exponent > 2.0):
        raise ValueError("exponent: expected numbers of at most 2")

    def of(distance: Array) -> Array:
        heads = (-1, *[1] * distance.ndim)
        far = np.abs(distance).astype(exponent.dtype)
        # The slope of 0 ** x in x would be NaN; a distance of 0 has no bias, whatever the exponent.
        power = np.exp(exponent.reshape(heads) * np.log(np.maximum(far, 1.0)))
        return -strength.reshape(heads) * (power * (far > 0))

    return Bias(of)


def sandwich(heads: int, *, width: int = 128, base: float = 10000.0) -> Bias:
    """Returns the bias of Sandwich: the dot product of the sinusoids of two positions, divided by 8 (h + 1) / heads.

    Formula: heads / (8 (h + 1)) sum_{i < width / 2} cos((p_i - p_j) base^(-2 i / width)), h counted from 0. Nothing is learned.
    arXiv:2212.10356.

    Raises:
        TypeError, ValueError: heads below 1, a width that is odd or below 2, a base that is not above 1.

    >>> sandwich(1, width=2).dense(1, 2).round(3)
    array([[[0.068, 0.125]]])
    """
    heads, width, base = whole("heads", heads, 1), whole("width", width, 2), real("base", base, above=1.0)
    if width % 2:
        raise ValueError(f"width: sines and cosines come in pairs, expected an even number, got {width}")
    frequencies = base ** (-np.arange(0, width, 2) / width)
    ratio = heads / (8.0 * np.arange(1, heads + 1))

    def of(distance: Array) -> Array:
        # Few distances differ, and each needs a sum of width / 2 cosines.
        each, inverse = np.unique(np.abs(distance), return_inverse=True)
        sums = np.cos(each[:, None] * frequencies).sum(axis=-1)[inverse].reshape(distance.shape)
        return np.asarray(ratio.reshape(-1, *[1] * distance.ndim) * sums)

    return Bias(of)


def fire_bias(q_len: int, kv_len: int, *, c: float | Array, threshold: float | Array, layers: Sequence[tuple[Array, Array]]) -> Array:
    """Returns FIRE's bias: a small network of the distance, compressed and divided by how far the query could look back.

    Formula: f(log(c (p_i - p_j) + 1) / log(c max(threshold, p_i) + 1)), where p_i = i + kv_len - q_len and f is the network
    x -> W x + b for each (W, b) of `layers`, with ReLU between them. Keys after their query get the bias of distance 0: they are for
    `causal=True` to hide. It depends on the position of the query too, so it is an array, for the option `bias`.

    Shapes: c and threshold numbers above 0 or arrays (), first W (hidden, 1), last W (heads, hidden), b one per row -> (heads,
    q_len, kv_len). c, threshold, W and b have gradients.

    Raises:
        TypeError, ValueError: lengths that are no ints, q_len above kv_len, arrays that are not floating or do not fit each other,
            c or threshold that are not above 0.

    Paper: Li et al. 2023, arXiv:2310.04418.

    >>> identity = [(np.ones((1, 1)), np.zeros(1))]
    >>> fire_bias(1, 3, c=np.array(1.0), threshold=np.array(1.0), layers=identity).round(3)
    array([[[1.   , 0.631, 0.   ]]])
    """
    q_len, kv_len = whole("q_len", q_len, 0), whole("kv_len", kv_len, 0)
    if q_len > kv_len:
        raise ValueError(f"q_len: expected at most the kv_len {kv_len}, got {q_len}")
    made = network(layers)
    dtype = made[0][0].dtype
    c, threshold = (positive(name, x, dtype) for name, x in (("c", c), ("threshold", threshold)))
    places = np.arange(kv_len - q_len, kv_len).astype(dtype)
    far = np.maximum(places[:, None] - np.arange(kv_len).astype(dtype), 0.0)
    x = (np.log(c * far + 1.0) / np.log(c * np.maximum(threshold, places) + 1.0)[:, None])[..., None]
    for n, (weight, bias) in enumerate(made):
        x = (np.maximum(x, 0.0) if n else x) @ weight.mT + bias
    return np.moveaxis(x, -1, 0)


def positive(name: str, x: float | Array, dtype: Any) -> Array:
    """Returns a number above 0, or an array () of one, in a dtype."""
    given = np.asarray(real(name, x)) if is_number(x) else of_shape(name, floating(name, x), (), "")
    if not np.isfinite(given).all() or np.any(given <= 0):
        raise ValueError(f"{name}: expected a finite number above 0")
    return given.astype(dtype)


def network(layers: Sequence[tuple[Array, Array]]) -> list[tuple[Array, Array]]:
    """Returns the layers of a network with one input; raises TypeError or ValueError unless they fit each other."""
    if not isinstance(layers, (list, tuple)) or not layers:
        raise TypeError("layers: expected at least one pair of a matrix and a bias")
    made: list[tuple[Array, Array]] = []
    for n, pair in enumerate(layers):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise TypeError(f"layers[{n}]: expected a pair of a matrix and a bias, got {type(pair).__name__}")
        weight, bias = (to_single(floating(f"layers[{n}]", x)) for x in pair)
        inputs = made[-1][0].shape[0] if made else 1
        if weight.ndim != 2 or weight.shape[1] != inputs or bias.shape != weight.shape[:1]:
            raise ValueError(f"layers[{n}]: expected a matrix of {inputs} columns and a bias with one number per row, got shapes "
                             f"{weight.shape} and {bias.shape}")
        made.append((weight, bias))
    return made


def of_heads(**given: Array) -> list[Array]:
    """Returns arrays of one finite number above 0 per head, copied; raises TypeError or ValueError for others."""
    found = [owned(floating(name, x)) for name, x in given.items()]
    for name, x in zip(given, found, strict=True):
        if x.ndim != 1 or x.shape != found[0].shape:
            shapes = " and ".join(str(each.shape) for each in found)
            raise ValueError(f"{', '.join(given)}: expected shape (heads,), the same for both, got {shapes}")
        if not np.isfinite(x).all() or np.any(x <= 0):
            raise ValueError(f"{name}: expected finite numbers above 0")
    return found
