"""Patch embedding: an image becomes a grid of tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyattn.layers.linear import normal, project
from tinyattn.ops.checks import has_axes, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, check_cells, to_windows


@dataclass(frozen=True, eq=False)
class PatchEmbedding:
    """Each square of pixels times a matrix, plus a learned vector for its place. arXiv:2010.11929.

    images (..., height, width) -> (..., cells, features), the cells of the grid in row-major order.

    >>> layer = PatchEmbedding.create(np.random.default_rng(0), (2, 3), 2, 5)
    >>> layer(np.ones((1, 4, 6), np.float32)).shape
    (1, 6, 5)
    """

    weight: Array
    positions: Array

    def __post_init__(self) -> None:
        given = {"weight": self.weight, "positions": self.positions}
        weight, positions = (has_axes(name, floating(name, x), 2) for name, x in given.items())
        if len(weight) != 2 or not weight[0] or round(weight[0] ** 0.5) ** 2 != weight[0]:
            raise ValueError(f"weight: expected shape (pixels of a square patch, width), got {weight}")
        if len(positions) != 2 or positions[1] != weight[1]:
            raise ValueError(f"positions: expected shape (cells, width) with the width of weight {weight}, got {positions}")

    @classmethod
    def create(cls, rng: np.random.Generator, grid: Grid, patch: int, width: int) -> PatchEmbedding:
        """Returns the layer with normal weights, for square patches of `patch` pixels per side on a grid of cells.

        The vectors of the places are as large as the embedded pixels: at a tenth of that size the cells stay alike for
        hundreds of steps.
        """
        grid, patch, width = check_cells(grid), whole("patch", patch, 1), whole("width", width, 1)
        if len(grid) != 2:
            raise ValueError(f"grid: expected (rows, columns), got {grid}")
        return cls(normal(rng, patch * patch, width, deviation=2.0 / patch),
                   normal(rng, grid[0] * grid[1], width, deviation=0.5))

    @widened
    def __call__(self, images: Array) -> Array:
        *lead, height, width = has_axes("images", floating("images", images), 2)
        patch = round(self.weight.shape[0] ** 0.5)
        if height % patch or width % patch or height * width != patch * patch * self.positions.shape[0]:
            raise ValueError(f"images: expected {self.positions.shape[0]} patches of {patch} by {patch} pixels, "
                             f"got shape {images.shape}")
        if not images.size:
            raise ValueError(f"images: expected at least one, got shape {images.shape}")
        pixels = to_windows(images.reshape(*lead, 1, height * width, 1), (height, width), (patch, patch))
        return project(pixels.reshape(*lead, -1, patch * patch), self.weight) + self.positions
