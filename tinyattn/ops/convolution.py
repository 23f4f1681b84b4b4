"""Causal convolution: each channel of a token is mixed with the same channel of the tokens just before it."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import has_axes, truth
from tinyattn.ops.signature import floating, of_shape
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


@widened
def causal_convolution(x: Array, weight: Array, *, bias: Array | None = None, initial_state: Array | None = None,
                       return_state: bool = False) -> Array | tuple[Array, Array]:
    """Returns every channel convolved with its own taps over the tokens up to each one: a depthwise convolution.

    Formula: y_t = bias + sum_s weight_s x_{t - width + 1 + s}; the last tap belongs to the token itself, and tokens before
    the first are 0 or those of the state. No activation is applied. The state is the last width - 1 inputs.

    Shapes: x (..., channels, length), weight (channels, width), bias (channels,), initial_state (..., channels, width - 1) -> as x,
    with `return_state` also the state after the last token.

    Raises:
        TypeError: an array is not floating. ValueError: an array of another shape, or a weight without taps.

    Paper: Dao and Gu 2024, arXiv:2405.21060, before whose keys, queries and values it stands.

    >>> causal_convolution(np.array([[1.0, 2.0, 3.0]]), np.array([[10.0, 1.0]]))
    array([[ 1., 12., 23.]])
    """
    x, weight, returned = floating("x", x), floating("weight", weight), truth("return_state", return_state)
    *leading, channels, length = has_axes("x", x, 2)
    if weight.ndim != 2 or weight.shape[0] != channels or not weight.shape[1]:
        raise ValueError(f"weight: expected shape (channels, width) with {channels} channels for x {x.shape}, got {weight.shape}")
    width = weight.shape[1]
    before = (*leading, channels, width - 1)
    state = np.zeros(before, x.dtype)
    if initial_state is not None:
        state = of_shape("initial_state", initial_state, before, f" for x {x.shape}")
    padded = np.concatenate((state, x), axis=-1)
    out = sum(weight[:, tap, None] * padded[..., tap : tap + length] for tap in range(width))
    if bias is not None:
        out = out + of_shape("bias", bias, (channels,), f" for x {x.shape}")[:, None]
    return (out, padded[..., length:]) if returned else out
