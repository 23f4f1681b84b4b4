"""Causal convolution, one token at a time: each channel is mixed with the same channel of the tokens just before."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import truth
from tinyattn.ops.convolution import check_convolution
from tinyattn.ops.named import named
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


@named
@widened
@np.errstate(over="ignore", under="ignore", invalid="ignore")
def causal_convolution_recurrent(x: Array, weight: Array, *, bias: Array | None = None, initial_state: Array | None = None,
                                 return_state: bool = False) -> Any:
    """Returns each channel convolved with its own weights, the taps, along the tokens: a causal depthwise convolution.

    Formula: y_t = bias + sum_s weight_s x_{t - width + 1 + s}, s = 0 .. width - 1: the last tap belongs to the token itself. Tokens
    before the first are 0 or those of the state, which holds the last width - 1 inputs as they came. No activation is applied.

    Shapes: x (..., channels, length), weight (channels, width), bias (channels,), initial_state (..., channels, width - 1) -> as x;
    with return_state also the state after the last token. Weight and bias are taken in the dtype of x.

    Raises:
        TypeError: an array is not floating, or a state of another dtype than x. ValueError: an array of another shape, or a weight
            without taps.

    Paper: Dao and Gu 2024, arXiv:2405.21060, which puts it before keys, queries and values.

    >>> causal_convolution_recurrent(np.array([[1.0, 2.0, 3.0]]), np.array([[10.0, 1.0]]))
    array([[ 1., 12., 23.]])
    """
    x, weight, bias, state = check_convolution(x, weight, bias, initial_state)
    returned, rows = truth("return_state", return_state), []
    for t in range(x.shape[-1]):
        window = np.concatenate((state, x[..., t : t + 1]), axis=-1)  # (..., channels, width)
        rows.append(np.sum(weight * window, axis=-1) + (0 if bias is None else bias))
        state = window[..., 1:]
    out = np.stack(rows, axis=-1) if rows else np.zeros(x.shape, x.dtype)
    return (out, state) if returned else out


causal_convolution_recurrent.signature = "(c,t),(c,w)->(c,t)"  # type: ignore[attr-defined]
causal_convolution = causal_convolution_recurrent
