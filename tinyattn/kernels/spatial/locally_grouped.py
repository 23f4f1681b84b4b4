"""Locally grouped attention: the exact kernel on the windows of a grid."""

from __future__ import annotations

from tinyattn.kernels.spatial.by_windows import attention_by_windows, cells_of
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, check_grid, check_sides


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def locally_grouped_attention(q: Array, k: Array, v: Array, *, grid: Grid, window: int | Grid, scale: float | None = None) -> Array:
    """Returns attention within the windows of a grid; compiled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, i, d), v (..., kv_heads, i, e), i = the cells of the grid in row-major
    order -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.locally_grouped_attention`.

    Paper: Chu et al. 2021, arXiv:2104.13840.

    >>> import numpy as np
    >>> x = np.arange(4.0)[:, None]
    >>> locally_grouped_attention(x * 0, x * 0, x, grid=(2, 2), window=(1, 2))[:, 0]
    array([0.5, 0.5, 2.5, 2.5])
    """
    grid = check_grid(grid, q)
    check_grid(grid, k, name="k")
    window = check_sides("window", window, grid)
    return attention_by_windows(q, k, v, cells_of(grid, window, (0,) * len(grid)), scale=scale)
