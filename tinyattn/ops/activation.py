"""Activation functions that do not overflow, however large their argument is."""

from __future__ import annotations

import math

import numpy as np

from tinyattn.ops.erf import normal_share
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


@widened
def sigmoid(x: Array) -> Array:
    """Returns 1 / (1 + exp(-x)), computed as (1 + tanh(x / 2)) / 2, which does not overflow and needs no branches.

    >>> sigmoid(np.array([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    x = floating("x", x)
    return np.tanh(x * 0.5) * 0.5 + 0.5


@widened
def silu(x: Array) -> Array:
    """Returns x sigmoid(x). arXiv:1702.03118.

    >>> silu(np.array([0.0, 1e4]))
    array([    0., 10000.])
    """
    half = floating("x", x) * 0.5
    return half * np.tanh(half) + half


@widened
def swiglu(gate: Array, up: Array) -> Array:
    """Returns silu(gate) up: the gated activation of SwiGLU. arXiv:2002.05202.

    >>> swiglu(np.array([0.0, 1e4]), np.array([2.0, 2.0]))
    array([    0., 20000.])
    """
    return silu(gate) * floating("up", up)


@widened
def gelu(x: Array) -> Array:
    """Returns x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2: GELU in its tanh form. arXiv:1606.08415.

    >>> gelu(np.array([0.0, 100.0]))
    array([  0., 100.])
    """
    x = floating("x", x)
    near = np.clip(x, -10.0, 10.0)  # beyond 10, tanh is exactly 1 and the cube may overflow
    return x * 0.5 * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (near + 0.044715 * (near * near * near))))


@widened
def exact_gelu(x: Array) -> Array:
    """Returns x (1 + erf(x / sqrt(2))) / 2: GELU itself, which differs from its tanh form by up to 5e-4. arXiv:1606.08415.

    >>> exact_gelu(np.array([0.0, 1.0, 100.0])).round(6)
    array([  0.      ,   0.841345, 100.      ])
    """
    x = floating("x", x)
    return np.where(x < -40.0, 0.0, x) * normal_share(x)  # so that -inf gives 0, the limit


@widened
def softplus(x: Array) -> Array:
    """Returns log(1 + exp(x)).

    >>> softplus(np.array([-1e4, 1e4]))
    array([    0., 10000.])
    """
    with np.errstate(under="ignore", invalid="ignore"):  # NaN gives NaN, without a warning
        return np.logaddexp(floating("x", x), 0.0)


@widened
def relu(x: Array) -> Array:
    """Returns max(x, 0); the derivative at 0 is 0.

    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    x = floating("x", x)
    return np.where(x > 0, x, 0.0)


@widened
def relu_squared(x: Array) -> Array:
    """Returns max(x, 0)^2. arXiv:2109.08668.

    >>> relu_squared(np.array([-1.0, 2.0]))
    array([0., 4.])
    """
    positive = relu(x)
    return positive * positive
