"""The blocks of an image model that each mechanism of a grid makes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from tinyattn import fastest, ops
from tinyattn.catalog.calls import rotated_by_cells
from tinyattn.layers.block import Block
from tinyattn.layers.spatial_gate import SpatialGate
from tinyattn.layers.swin import SwinBlock
from tinyattn.models.config import residual_deviation
from tinyattn.models.image import BlockOf, ImageConfig, attending
from tinyattn.ops.types import Array


def everywhere(q: Array, k: Array, v: Array, *, grid: tuple[int, ...]) -> Any:
    """Returns attention to all cells, whatever the grid is."""
    return fastest.attention(q, k, v)


def swin(rng: np.random.Generator, number: int, config: ImageConfig) -> SwinBlock:
    """Returns a block of Swin with windows of half the grid's side, shifted by half a window in every second block."""
    window = max(1, config.grid[0] // 2)
    return SwinBlock.create(rng, config.width, config.heads, config.hidden, grid=config.grid, window=window,
                            shift=number % 2 * (window // 2), deviation=residual_deviation(config.layers))


def gate(rng: np.random.Generator, number: int, config: ImageConfig) -> Block:
    """Returns a block that has a spatial gate instead of attention."""
    return Block.create(rng, SpatialGate.create(rng, config.grid), config.width, config.hidden,
                        deviation=residual_deviation(config.layers))


def halves(number: int) -> Any:
    """Returns the attention of Twins: windows of half the side, and in every second block the means of blocks of that size."""
    def twins(q: Array, k: Array, v: Array, *, grid: tuple[int, ...]) -> Any:
        half = tuple(max(1, side // 2) for side in grid)
        if number % 2:
            return fastest.global_subsampled_attention(q, k, v, grid=grid, ratio=half)
        return fastest.locally_grouped_attention(q, k, v, grid=grid, window=half)

    return twins


BLOCKS: Mapping[str, BlockOf] = {
    "attention": attending(lambda number: everywhere),
    "shifted_window_attention": swin,
    "locally_grouped_attention": attending(halves),
    "global_subsampled_attention": attending(lambda number: partial(fastest.global_subsampled_attention, ratio=2)),
    "axial_attention": attending(lambda number: partial(fastest.axial_attention, axis=number % 2)),
    "neighborhood_attention": attending(lambda number: partial(fastest.neighborhood_attention, kernel=3)),
    "spatial_gate": gate,
    "rotary_2d": attending(lambda number: rotated_by_cells(ops.rotary_2d)),
}
