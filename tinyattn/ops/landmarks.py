"""Landmarks: means of neighbouring rows, and the pseudo-inverse of the weights between them."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.types import Array


def segment_means(name: str, x: Array, count: int) -> Array:
    """Returns the means of `count` neighbouring segments."""
    length = x.shape[-2]
    if length % count or not length:
        raise ValueError(f"landmarks: expected a divisor of the length {length} of {name} {x.shape}, got {count}")
    means: Array = x.reshape(*x.shape[:-2], count, length // count, x.shape[-1]).mean(axis=-2)
    return means


def pseudo_inverse(a: Array, iterations: int) -> Array:
    """Returns the result of an iteration that starts at A^T / (|A|_1 |A|_inf) and converges to the pseudo-inverse."""
    eye = np.eye(a.shape[-1], dtype=a.dtype)
    columns, rows = (np.max(np.sum(a, axis=axis, keepdims=True), axis=(-2, -1), keepdims=True) for axis in (-2, -1))
    z = a.mT / (columns * rows)
    for _ in range(iterations):
        az = a @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) * 0.25
    return z
