"""Global subsampled attention: the exact kernel on the means of the blocks of a grid."""

from __future__ import annotations

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, check_grid, check_sides, to_windows


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def global_subsampled_attention(q: Array, k: Array, v: Array, *, grid: Grid, ratio: int | Grid, scale: float | None = None) -> Array:
    """Returns attention of every cell to the means of blocks whose sides are `ratio` cells; compiled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), j = the cells of the grid in row-major
    order -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.global_subsampled_attention`.

    Paper: Chu et al. 2021, arXiv:2104.13840.

    >>> x = np.arange(4.0)[:, None]
    >>> global_subsampled_attention(x * 0, x * 0, x, grid=(4,), ratio=2)[:, 0]
    array([1.5, 1.5, 1.5, 1.5])
    """
    grid = check_grid(grid, k, name="k")
    block = check_sides("ratio", ratio, grid)
    means = (np.swapaxes(np.mean(to_windows(x, grid, block), axis=-2), -3, -2) for x in (k, v))
    return attention(q, *means, scale=scale)
