"""Neighborhood attention: each cell attends to the cells nearest to it, as many at a border as elsewhere."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.heads import split_group
from tinyattn.ops.neighbours import check_neighbourhood, joined, neighbours
from tinyattn.ops.scores import scores_of
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def neighborhood_attention(q: Array, k: Array, v: Array, *, grid: Grid, kernel: int | Grid, dilation: int | Grid = 1,
                           stride: int | Grid = 1, causal: bool | tuple[bool, ...] = False, scale: float | None = None) -> Array:
    """Returns attention of each cell to the `kernel` nearest cells along every axis; at a border the window moves inward.

    Formula: out_c = softmax(scale q_c k^T) v over the product of one window per axis. The window of place i on an axis of
    length L begins at clip(i - kernel // 2, 0, L - kernel), so that an even kernel reaches one cell further to the left. With
    a stride, each run of `stride` cells shares the window of its middle cell. On a causal axis the window is i - kernel + 1
    to i, cut at 0; with a stride it is that of the last cell of the run. With a dilation, all of this applies among the cells
    whose place has the same remainder.

    Shapes: q (..., heads, i, d), k (..., kv_heads, i, d), v (..., kv_heads, i, e), i = the cells of the grid in row-major
    order -> (..., heads, i, e). Only the neighbours' scores are computed.

    Args:
        q: queries.
        k: keys.
        v: values.
        grid: (length,), (rows, columns), ...
        kernel: cells of a window, one number or one per axis.
        dilation: distance between two neighbouring cells of a window.
        stride: how many cells share a window.
        causal: one bool, or one per axis.
        scale: None is d ** -0.5.

    Raises:
        TypeError, ValueError: a grid of another size, kernel times dilation above an axis, a stride above the kernel.

    Paper: Hassani et al. 2022, arXiv:2204.07143; dilated: arXiv:2209.15001; strided: arXiv:2504.16922.

    >>> x = np.arange(4.0)[:, None]
    >>> neighborhood_attention(x * 0, x * 0, x, grid=(4,), kernel=3)[:, 0]
    array([1., 1., 2., 2.])
    """
    grid, axes = check_neighbourhood(q, k, grid, kernel, dilation, stride, causal)
    near, seen = joined(grid, [neighbours(axis) for axis in axes])
    # Each cell has its own keys, so that cells take the place of heads: (..., kv_heads, cells, groups, d).
    queries = np.swapaxes(split_group(q, k.shape[-3]), -2, -3)
    scores = scores_of(queries, k[..., near, :], scale=scale, visible=seen[:, None, :])
    out = softmax(scores) @ v[..., near, :]
    return np.swapaxes(out, -2, -3).reshape(*q.shape[:-1], v.shape[-1])
