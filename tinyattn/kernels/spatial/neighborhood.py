"""Neighbourhood attention: the exact kernel over the tiles that hold a neighbour."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.neighbours import Axis, check_neighbourhood, neighbours
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, coordinates


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def neighborhood_attention(q: Array, k: Array, v: Array, *, grid: Grid, kernel: int | Grid, dilation: int | Grid = 1,
                           stride: int | Grid = 1, causal: bool | tuple[bool, ...] = False, scale: float | None = None) -> Array:
    """Returns attention of each cell to the `kernel` nearest ones along every axis; at a border the window moves inward.

    Shapes: q (..., heads, i, d), k (..., kv_heads, i, d), v (..., kv_heads, i, e), i = the cells of the grid in row-major
    order -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.neighborhood_attention`.

    Paper: Hassani et al. 2022, arXiv:2204.07143; dilated: arXiv:2209.15001; strided: arXiv:2504.16922.
    """
    grid, axes = check_neighbourhood(q, k, grid, kernel, dilation, stride, causal)
    return attention(q, k, v, mask=neighbourhood(grid, axes), scale=scale)


@lru_cache(maxsize=16)
def neighbourhood(grid: Grid, axes: tuple[Axis, ...]) -> Pattern:
    """Returns which cell sees which: along every axis one of the same residue between the ends of its window."""
    place, ends = coordinates(grid), [ends_of(axis) for axis in axes]

    def see(i: Array, j: Array) -> Any:
        seen: Any = True
        for n, (axis, (low, high)) in enumerate(zip(axes, ends, strict=True)):
            mine, theirs = place[i, n], place[j, n]
            seen = seen & (theirs >= low[mine]) & (theirs <= high[mine])
            if axis.dilation > 1:
                seen = seen & (theirs % axis.dilation == mine % axis.dilation)
        return seen

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        # By the first axis alone: cells of a tile stand in few of its lines.
        lines = zip(place[i0, 0].reshape(-1).tolist(), place[i1, 0].reshape(-1).tolist(), strict=True)
        reach = np.array([(ends[0][0][a : b + 1].min(), ends[0][1][a : b + 1].max()) for a, b in lines]).reshape(-1, 2)
        some = (place[j1, 0] >= reach[:, :1]) & (place[j0, 0] <= reach[:, 1:])
        return some, np.zeros_like(some)

    return Constant(Pattern(see, corners=corners))


def ends_of(axis: Axis) -> tuple[Array, Array]:
    """Returns the first and the last cell that each cell of an axis sees; a last before the first where it sees none."""
    near, seen = neighbours(axis)
    return np.where(seen, near, axis.length).min(axis=-1), np.where(seen, near, -1).max(axis=-1)
