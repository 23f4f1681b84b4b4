"""A linear layer: the product with one matrix, and the matrix it starts from."""

from __future__ import annotations

import math

import numpy as np
from numpy import ndarray

from tinyattn.layers.fused import products
from tinyattn.ops.checks import check_rng, real, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array

# Dtypes that are computed as they are.
WIDE = {np.dtype(np.float32), np.dtype(np.float64)}


def project(x: Array, weight: Array) -> Array:
    """Returns x @ weight as one product over all rows. x (..., inputs), weight (inputs, outputs) -> (..., outputs).

    Raises:
        TypeError: arrays that are not floating. ValueError: a last axis of x that is not the weight's first.

    >>> project(np.ones((2, 3, 4)), np.ones((4, 5))).shape
    (2, 3, 5)
    """
    # A decoding step makes 28 of these products, of 2 us each; the checks and the wrapper would add 1.5 us to each.
    if (type(x) is ndarray and type(weight) is ndarray and x.dtype is weight.dtype and x.dtype in WIDE
            and weight.ndim == 2 and x.ndim and x.shape[-1] == weight.shape[0]):
        return x @ weight if x.size == x.shape[-1] else product(x, weight)
    return checked_product(x, weight)


@widened
def checked_product(x: Array, weight: Array) -> Array:
    """Returns the product of arrays or Tensors of any dtype; errors name what is wrong with them."""
    x, weight = floating("x", x), floating("weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"weight: expected shape (inputs, outputs), got {weight.shape}")
    if x.shape[-1:] != weight.shape[:1]:
        raise ValueError(f"x: expected a last axis of {weight.shape[0]} for a weight {weight.shape}, got shape {x.shape}")
    return product(x, weight)


def product(x: Array, weight: Array) -> Array:
    """Returns x @ weight as one product over all rows."""
    if x.size == x.shape[-1]:  # one row
        return x @ weight
    made = products(x, weight)
    if made is not None:
        return made[0]
    rows = math.prod(x.shape[:-1])  # (8, 256, 128) @ (128, 384): 1.3 times as fast folded as in 8 products
    return (x.reshape(rows, x.shape[-1]) @ weight).reshape(*x.shape[:-1], weight.shape[-1])


def projections(x: Array, *weights: Array) -> tuple[Array, ...]:
    """Returns `project(x, weight)` for each of up to three matrices; x is read once where a kernel takes them all.

    >>> [y.shape for y in projections(np.ones((2, 3)), np.ones((3, 4)), np.ones((3, 5)))]
    [(2, 4), (2, 5)]
    """
    return products(x, *weights) or tuple(project(x, weight) for weight in weights)


def normal(rng: np.random.Generator, inputs: int, outputs: int, *, deviation: float = 0.02) -> Array:
    """Returns a float32 matrix (inputs, outputs) of normal numbers with mean 0 and this deviation.

    Raises:
        TypeError: no Generator, sizes that are not ints. ValueError: sizes below 1, a deviation below 0.

    >>> normal(np.random.default_rng(0), 4, 5).shape
    (4, 5)
    """
    check_rng(rng)
    inputs, outputs, deviation = whole("inputs", inputs, 1), whole("outputs", outputs, 1), real("deviation", deviation, least=0.0)
    return (rng.standard_normal((inputs, outputs)) * deviation).astype(np.float32)
