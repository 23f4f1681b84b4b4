"""Normalisation of the last axis: by its mean square, by mean and variance, to length one."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.types import Array


def check_weight(name: str, weight: Array | None, x: Array) -> None:
    """Raises ValueError unless a weight has one number a channel."""
    if weight is not None and weight.shape != x.shape[-1:]:
        raise ValueError(f"{name}: expected shape {x.shape[-1:]} for x {x.shape}, got {weight.shape}")


def rms_norm(x: Array, weight: Array | None = None, *, epsilon: float = 1e-6) -> Array:
    """Returns x / sqrt(mean(x^2) + epsilon), times weight. x (..., width), weight (width,). arXiv:1910.07467.

    >>> rms_norm(np.array([3.0, 3.0]), epsilon=0.0)
    array([1., 1.])
    """
    check_weight("weight", weight, x)
    width = x.shape[-1]
    square = np.vecdot(x, x).reshape(*x.shape[:-1], 1)
    normed = x * (width ** 0.5 / np.sqrt(square + width * epsilon))
    return normed if weight is None else normed * weight


def layer_norm(x: Array, weight: Array | None = None, bias: Array | None = None, *, epsilon: float = 1e-5) -> Array:
    """Returns (x - mean) / sqrt(variance + epsilon), times weight, plus bias. x (..., width). arXiv:1607.06450.

    >>> layer_norm(np.array([1.0, 3.0]), epsilon=0.0)
    array([-1.,  1.])
    """
    check_weight("weight", weight, x)
    check_weight("bias", bias, x)
    centred = x - np.mean(x, axis=-1, keepdims=True)
    normed = centred * (1.0 / np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + epsilon))
    normed = normed if weight is None else normed * weight
    return normed if bias is None else normed + bias


def unit(x: Array) -> Array:
    """Returns x / |x|; a vector of zeros stays zeros, with gradient 0. x (..., width).

    >>> unit(np.array([3.0, 4.0]))
    array([0.6, 0.8])
    """
    square = np.sum(x * x, axis=-1, keepdims=True)
    zero = square == 0
    return np.where(zero, 0.0, x / np.sqrt(np.where(zero, 1.0, square)))
