"""Axial attention: the exact kernel on the lines of a grid."""

from __future__ import annotations

import math

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, check_axis, check_grid


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def axial_attention(q: Array, k: Array, v: Array, *, grid: Grid, axis: int, mask: Array | Pattern | None = None,
                    bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                    scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention in which a cell sees the cells that differ from it along one axis only; compiled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, i, d), v (..., kv_heads, i, e), i = the cells of the grid in row-major
    order -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.axial_attention`.

    Paper: Ho et al. 2019, arXiv:1912.12180.

    >>> x = np.arange(4.0)[:, None]
    >>> axial_attention(x * 0, x * 0, x, grid=(2, 2), axis=0)[:, 0]
    array([1., 2., 1., 2.])
    """
    grid = check_grid(grid, q)
    check_grid(grid, k, name="k")
    axis = check_axis(axis, grid)
    place, others = axis - len(grid) - 1, grid[:axis] + grid[axis + 1 :]  # where the axis stands in (..., *grid, dim)

    def lines(x: Array) -> Array:
        """(..., other cells, heads, cells of a line, dim)."""
        cells = np.moveaxis(x.reshape(*x.shape[:-2], *grid, x.shape[-1]), place, -2)
        return np.swapaxes(cells.reshape(*x.shape[:-2], math.prod(others), grid[axis], x.shape[-1]), -4, -3)

    attended = attention(lines(q), lines(k), lines(v), mask=mask, bias=bias, causal=causal, window=window, scale=scale,
                         softcap=softcap, sinks=sinks)
    cells = np.swapaxes(attended, -4, -3).reshape(*q.shape[:-2], *others, grid[axis], v.shape[-1])
    return np.moveaxis(cells, -2, place).reshape(*q.shape[:-1], v.shape[-1])
