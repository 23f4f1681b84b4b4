"""Shifted windows: the exact kernel on many small windows at once."""

from __future__ import annotations

from tinyattn.kernels.spatial.by_windows import attention_by_windows, cells_of
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, check_shifted, regions, relative_bias


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def shifted_window_attention(q: Array, k: Array, v: Array, *, grid: Grid, window: int | Grid, shift: int | Grid = 0,
                             bias_table: Array | None = None, scale: float | None = None) -> Array:
    """Returns attention within the windows of a grid, which are shifted by `shift` cells; compiled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, i, d), v (..., kv_heads, i, e), i = the cells of the grid in row-major
    order -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.shifted_window_attention`.

    Paper: Liu et al. 2021, arXiv:2103.14030.

    >>> import numpy as np
    >>> x = np.arange(4.0)[:, None]
    >>> shifted_window_attention(x * 0, x * 0, x, grid=(4,), window=2, shift=1)[:, 0]
    array([0. , 1.5, 1.5, 3. ])
    """
    grid, window, shift = check_shifted(q, k, grid, window, shift)
    bias = None if bias_table is None else relative_bias(bias_table, window, q.shape[-3])
    mask = regions(grid, window, shift) if any(shift) else None
    return attention_by_windows(q, k, v, cells_of(grid, window, shift), mask=mask, bias=bias, scale=scale)
