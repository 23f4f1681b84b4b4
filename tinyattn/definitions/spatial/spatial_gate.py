"""The spatial gate of CBAM: not attention by queries and keys, but a map of where to look."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.activation import sigmoid
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


def spatial_gate(x: Array, *, kernel: Array, bias: float | Array = 0.0) -> Array:
    """Returns an image times a map between 0 and 1 that a convolution makes of its channels' mean and maximum.

    Formula: M = sigmoid(conv([mean_c x ; max_c x]) + bias), out = M x; zeros stand beyond the border.

    Shapes: x (..., channels, y, x), kernel (2, k, k) with k odd, bias a number or () -> as x.

    Raises:
        TypeError, ValueError: arrays of another kind, no channel, a kernel of another shape or of even size.

    Paper: Woo et al. 2018, arXiv:1807.06521.

    >>> spatial_gate(np.ones((3, 2, 2)), kernel=np.zeros((2, 3, 3)))[0]
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    x, kernel = floating("x", x), floating("kernel", kernel)
    if x.ndim < 3 or not x.shape[-3]:
        raise ValueError(f"x: expected (..., channels, y, x) with a channel at least, got shape {x.shape}")
    if kernel.ndim != 3 or kernel.shape[0] != 2 or kernel.shape[1] != kernel.shape[2] or kernel.shape[1] % 2 == 0:
        raise ValueError(f"kernel: expected shape (2, k, k) with k odd, got shape {kernel.shape}")
    if not isinstance(bias, (int, float)) and floating("bias", bias).shape != ():
        raise ValueError(f"bias: expected a number, got shape {bias.shape}")
    size, (height, width) = kernel.shape[1], x.shape[-2:]
    seen = np.stack((np.mean(x, axis=-3), np.max(x, axis=-3)), axis=-3)
    edge = size // 2
    padded = np.pad(seen, [(0, 0)] * (seen.ndim - 2) + [(edge, edge)] * 2)
    total = bias + np.zeros((*x.shape[:-3], height, width), x.dtype)
    for dy in range(size):
        for dx in range(size):
            part = padded[..., dy : dy + height, dx : dx + width]
            total = total + np.sum(part * kernel[:, dy, dx, None, None].astype(x.dtype), axis=-3)
    return x * sigmoid(total)[..., None, :, :]


spatial_gate.signature = "(c,y,x)->(c,y,x)"  # type: ignore[attr-defined]
