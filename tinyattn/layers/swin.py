"""The block of Swin: attention within shifted windows of a grid, with a learned bias per distance of two cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from tinyattn import fastest
from tinyattn.layers.attention import SelfAttention
from tinyattn.layers.block import Block
from tinyattn.layers.checks import check_parts
from tinyattn.layers.linear import normal
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, check_cells, check_sides


@dataclass(frozen=True, eq=False)
class SwinBlock:
    """A pre-norm block around `shifted_window_attention`; two of them, the second shifted, join neighbouring windows.

    x (..., cells, width) -> the same shape. The table has one row per distance of two cells and one column per head.
    arXiv:2103.14030.

    >>> block = SwinBlock.create(np.random.default_rng(0), 8, 2, 16, grid=(4, 4), window=2)
    >>> block(np.ones((1, 16, 8), np.float32)).shape
    (1, 16, 8)
    """

    block: Block
    table: Array

    def __post_init__(self) -> None:
        check_parts(block=self.block)
        floating("table", self.table)

    @classmethod
    def create(cls, rng: np.random.Generator, width: int, heads: int, hidden: int, *, grid: Grid, window: int | Grid,
               shift: int | Grid = 0, deviation: float = 0.02) -> SwinBlock:
        """Returns the block with normal weights; `deviation` is that of the last matrix of attention and of feed-forward."""
        sides = check_sides("window", window, check_cells(grid))
        attend = partial(fastest.shifted_window_attention, grid=grid, window=sides, shift=shift)
        attention = SelfAttention.create(rng, width, heads, heads, mechanism=attend, base=None, deviation=deviation)
        block = Block.create(rng, attention, width, hidden, deviation=deviation)
        return cls(block, normal(rng, math.prod(2 * side - 1 for side in sides), heads))

    def __call__(self, x: Array) -> Array:
        return self.block(x, bias_table=self.table)
