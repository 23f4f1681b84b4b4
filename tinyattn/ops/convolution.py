"""Causal convolution: each channel of a token is mixed with the same channel of the tokens just before it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import has_axes, truth
from tinyattn.ops.named import named
from tinyattn.ops.signature import floating, of_shape
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


@named
@widened
@np.errstate(over="ignore", under="ignore", invalid="ignore")
def causal_convolution(x: Array, weight: Array, *, bias: Array | None = None, initial_state: Array | None = None,
                       return_state: bool = False) -> Array | tuple[Array, Array]:
    """Returns each channel convolved with its own weights, the taps, along the tokens: a causal depthwise convolution.

    Formula: y_t = bias + sum_s weight_s x_{t - width + 1 + s}; the last tap belongs to the token itself, and tokens before
    the first are 0 or those of the state. No activation is applied. The state is the last width - 1 inputs.

    Shapes: x (..., channels, length), weight (channels, width), bias (channels,), initial_state (..., channels, width - 1) -> as x,
    with `return_state` also the state after the last token. Weight and bias are taken in the dtype of x.

    Raises:
        TypeError: an array is not floating, or a state of another dtype than x. ValueError: an array of another shape, or a weight
            without taps.

    Paper: Dao and Gu 2024, arXiv:2405.21060, which puts it before keys, queries and values.

    >>> causal_convolution(np.array([[1.0, 2.0, 3.0]]), np.array([[10.0, 1.0]]))
    array([[ 1., 12., 23.]])
    """
    x, weight, bias, state = check_convolution(x, weight, bias, initial_state)
    returned, length = truth("return_state", return_state), x.shape[-1]
    padded = np.concatenate((state, x), axis=-1)
    out = sum(weight[:, tap, None] * padded[..., tap : tap + length] for tap in range(weight.shape[1]))
    if bias is not None:
        out = out + bias[:, None]
    return (out, padded[..., length:]) if returned else out


def check_convolution(x: Any, weight: Any, bias: Any, initial_state: Any) -> tuple[Array, Array, Array | None, Array]:
    """Returns x (..., channels, length), weight (channels, width), bias (channels,) or None, and the state, of zeros if none is given.

    Raises:
        TypeError: an array is not floating, or a state of another dtype than x. ValueError: an array of another shape, or a weight
            without taps.
    """
    x, weight = floating("x", x), floating("weight", weight)
    *leading, channels, _ = has_axes("x", x, 2)
    if weight.ndim != 2 or weight.shape[0] != channels or not weight.shape[1]:
        raise ValueError(f"weight: expected shape (channels, width) with {channels} channels for x {x.shape}, got {weight.shape}")
    before, note = (*leading, channels, weight.shape[1] - 1), f" for x {x.shape}"
    state = np.zeros(before, x.dtype) if initial_state is None else of_shape("initial_state", initial_state, before, note)
    if state.dtype != x.dtype:
        raise TypeError(f"initial_state: expected dtype {x.dtype} as x, got {state.dtype}")
    return x, weight.astype(x.dtype), None if bias is None else of_shape("bias", bias, (channels,), note).astype(x.dtype), state
