"""Causal convolution of all tokens at once: one pass over the array for each tap, which needs no compiled code to be fast."""

from __future__ import annotations

from typing import Any

from tinyattn.ops import convolution
from tinyattn.ops.named import named
from tinyattn.ops.types import Array


@named
def causal_convolution(x: Array, weight: Array, *, bias: Array | None = None, initial_state: Array | None = None,
                       return_state: bool = False) -> Any:
    """Returns each channel convolved with its own weights, the taps, along the tokens: a causal depthwise convolution.

    Formula: y_t = bias + sum_s weight_s x_{t - width + 1 + s}; the last tap belongs to the token itself.

    Shapes, options and errors are those of `tinyattn.definitions.causal_convolution`.

    Paper: Dao and Gu 2024, arXiv:2405.21060, which puts it before keys, queries and values.

    >>> import numpy as np
    >>> causal_convolution(np.array([[1.0, 2.0, 3.0]]), np.array([[10.0, 1.0]]))
    array([[ 1., 12., 23.]])
    """
    return convolution.causal_convolution(x, weight, bias=bias, initial_state=initial_state, return_state=return_state)


causal_convolution.signature = "(c,t),(c,w)->(c,t)"  # type: ignore[attr-defined]
