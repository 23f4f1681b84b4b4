"""Axial attention: the exact kernel on the lines of a grid."""

from __future__ import annotations

from tinyattn.kernels.spatial.by_windows import attention_by_windows, cells_of
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

    >>> import numpy as np
    >>> x = np.arange(4.0)[:, None]
    >>> axial_attention(x * 0, x * 0, x, grid=(2, 2), axis=0)[:, 0]
    array([1., 2., 1., 2.])
    """
    grid = check_grid(grid, q)
    check_grid(grid, k, name="k")
    axis = check_axis(axis, grid)
    line = tuple(n if at == axis else 1 for at, n in enumerate(grid))  # a line of cells along the axis
    return attention_by_windows(q, k, v, cells_of(grid, line, (0,) * len(grid)), mask=mask, bias=bias, causal=causal, window=window,
                                scale=scale, softcap=softcap, sinks=sinks)
