"""The spatial gate as a layer: each cell of a grid times a gate of 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.layers.linear import normal
from tinyattn.ops.checks import whole
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, check_cells, check_grid


@dataclass(frozen=True, eq=False)
class SpatialGate:
    """`spatial_gate` on the cells of a grid, whose features are the channels. arXiv:1807.06521.

    x (..., cells, width) -> the same shape. The gate of a cell sees size // 2 cells in each direction.

    >>> SpatialGate.create(np.random.default_rng(0), (2, 3), size=3)(np.ones((1, 6, 4), np.float32)).shape
    (1, 6, 4)
    """

    kernel: Array
    bias: Array
    grid: Grid

    def __post_init__(self) -> None:
        if len(check_cells(self.grid)) != 2:
            raise ValueError(f"grid: expected (rows, columns), got {self.grid}")

    @classmethod
    def create(cls, rng: np.random.Generator, grid: Grid, *, size: int = 7) -> SpatialGate:
        """Returns the layer with normal weights and a bias of 0: gates of about one half."""
        if whole("size", size, 1) % 2 == 0:
            raise ValueError(f"size: expected an odd number, got {size}")
        return cls(normal(rng, 2 * size, size).reshape(2, size, size), np.zeros((), np.float32), grid)

    def __call__(self, x: Array, *, cache: Any = None) -> Array:
        if cache is not None:
            raise ValueError("cache: expected None, as a gate on the cells of a grid reads no earlier tokens")
        check_grid(self.grid, floating("x", x), name="x")
        image = x.mT.reshape(*x.shape[:-2], x.shape[-1], *self.grid)
        gated = definitions.spatial_gate(image, kernel=self.kernel, bias=self.bias)
        return gated.reshape(*x.shape[:-2], x.shape[-1], x.shape[-2]).mT
