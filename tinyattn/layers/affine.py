"""A linear layer as files of models hold it: its matrix stands (outputs, inputs), and may stay in the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.engine.primitive import primitive
from tinyattn.layers.linear import WIDE, project
from tinyattn.ops.files.stored import Stored
from tinyattn.ops.signature import floating, of_shape
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array

# The rows of a matrix that are widened at once, for one vector and for many, so that a widened tile stays in the cache.
ROWS, ROWS_FOR_MANY = 256, 512


@cache
def kernel_of_weights() -> Callable[..., Array | None] | None:
    """Returns the kernel that multiplies matrices as they are stored; None where nothing can be compiled."""
    if fastest.kernel() is None:
        return None
    from tinyattn.kernels.weights import stored_product as kernel
    return kernel


def product_of(x: Array, weight: Stored) -> Array:
    """Returns x W^T for a matrix that stays in its file: by the kernel, else widened a tile of rows at a time.

    x (rows, inputs) -> (rows, outputs).
    """
    kernel = kernel_of_weights()
    if kernel is not None and (found := kernel(x, weight.raw, weight.code, weight.shape[0])) is not None:
        return found
    out = np.empty((len(x), weight.shape[0]), x.dtype)
    for start, tile in weight.tiles(ROWS if len(x) == 1 else ROWS_FOR_MANY, x.dtype):
        np.matmul(x, tile.T, out=out[:, start : start + len(tile)])
    return out


@primitive
def stored_product(x: Array, weight: Stored) -> tuple[Array, Any]:
    """Returns `product_of`, with the gradient for x."""
    return product_of(x, weight), (weight, x.shape, x.dtype)


@stored_product.backward
def _(d_out: Array, saved: Any) -> dict[str, Array | None]:
    """The gradient for x; the matrix in the file is a constant."""
    weight, shape, dtype = saved
    d_x = np.zeros(shape, dtype)
    for start, tile in weight.tiles(ROWS_FOR_MANY, dtype):
        d_x += d_out[:, start : start + len(tile)] @ tile
    return {"x": d_x}


@dataclass(frozen=True, eq=False)
class Affine:
    """x W^T + bias, with W (outputs, inputs) an array or a `Stored` tensor, and bias (outputs,) or None.

    x (..., inputs) -> (..., outputs). Gradients flow to x, to the bias and to a matrix that is an array.

    Raises:
        TypeError: arrays that are not floating. ValueError: a matrix without two axes, a bias of another shape.

    >>> Affine(np.ones((5, 4)), np.ones(5))(np.ones((2, 3, 4))).shape
    (2, 3, 5)
    """

    weight: Array | Stored
    bias: Array | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.weight, Stored):
            floating("weight", self.weight)
        if len(self.weight.shape) != 2:
            raise ValueError(f"weight: expected shape (outputs, inputs), got {self.weight.shape}")
        if self.bias is not None:
            of_shape("bias", floating("bias", self.bias), self.weight.shape[:1], f" for a weight {self.weight.shape}")

    def __call__(self, x: Array) -> Array:
        # A decoding step makes 200 of these products, of 50 us each; the checks and the recording would add 30 us to each.
        if (type(x) is np.ndarray and x.dtype in WIDE and isinstance(self.weight, Stored) and x.shape[-1:] == self.weight.shape[1:]):
            out = product_of(x.reshape(-1, x.shape[-1]), self.weight).reshape(*x.shape[:-1], self.weight.shape[0])
            return out if self.bias is None else out + self.bias
        return self._checked(x)

    @widened
    def _checked(self, x: Array) -> Array:
        """Returns the product of an array or Tensor of any dtype; errors name what is wrong with it."""
        if isinstance(self.weight, Stored):
            x = floating("x", x)
            if x.shape[-1:] != self.weight.shape[1:]:
                raise ValueError(f"x: expected a last axis of {self.weight.shape[1]} for a weight {self.weight.shape}, got {x.shape}")
            rows = x.reshape(-1, x.shape[-1])
            out: Array = stored_product(rows, self.weight).reshape(*x.shape[:-1], self.weight.shape[0])
        else:
            out = project(x, self.weight.T)
        return out if self.bias is None else out + self.bias

    @property
    def nbytes(self) -> int:
        """The bytes of matrix and bias, as they are stored."""
        return self.weight.nbytes + (0 if self.bias is None else self.bias.nbytes)
