"""The spatial gate of CBAM: no queries and keys, but a map that weights the places of an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.activation import sigmoid
from tinyattn.ops.checks import is_number
from tinyattn.ops.named import named
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


@named
@widened
def spatial_gate(x: Array, *, kernel: Array, bias: float | Array = 0.0) -> Array:
    """Returns an image times a map of weights between 0 and 1, made by a convolution of the channels' mean and maximum.

    Formula: M = sigmoid(conv([mean_c x ; max_c x]) + bias), out = M x; the image is padded with zeros.

    Shapes: x (..., channels, y, x), kernel (2, k, k) with k odd, bias a number or an array () -> as x.

    Raises:
        TypeError, ValueError: arrays that are not floating, an empty image, a kernel of another shape or of even size.

    Paper: Woo et al. 2018, arXiv:1807.06521.

    >>> spatial_gate(np.ones((3, 2, 2)), kernel=np.zeros((2, 3, 3)))[0]
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    x, kernel, bias = floating("x", x), floating("kernel", kernel), check_bias(bias)
    if x.ndim < 3 or 0 in x.shape[-3:]:
        raise ValueError(f"x: expected (..., channels, y, x), none of them 0, got shape {x.shape}")
    if kernel.ndim != 3 or kernel.shape[0] != 2 or kernel.shape[1] != kernel.shape[2] or kernel.shape[1] % 2 == 0:
        raise ValueError(f"kernel: expected shape (2, k, k) with k odd, got shape {kernel.shape}")
    size = kernel.shape[1]
    seen = np.stack((np.mean(x, axis=-3), np.max(x, axis=-3)), axis=-3)
    padded = np.pad(seen, [(0, 0)] * (seen.ndim - 2) + [(size // 2, size // 2)] * 2)
    patches = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(-2, -1))  # (..., 2, y, x, k, k)
    total = np.einsum("...cyxij,cij->...yx", patches, kernel.astype(x.dtype)) + bias.astype(x.dtype)
    return x * sigmoid(total)[..., None, :, :]


def check_bias(bias: Any) -> Array:
    """Returns the bias as an array of one number."""
    if is_number(bias):
        return np.full((), bias, np.float64)
    number = floating("bias", bias)
    if number.shape != ():
        raise ValueError(f"bias: expected a number, got shape {number.shape}")
    return number


spatial_gate.signature = "(c,y,x)->(c,y,x)"  # type: ignore[attr-defined]
