"""Neighborhood attention: each cell sees the same number of nearest cells along every axis."""

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
    """Returns attention of each cell to the `kernel` nearest ones along every axis; at a border the window moves inward.

    Formula: out_c = softmax(scale q_c k^T) v over the product of one window an axis, which begins at clip(i - kernel // 2, 0,
    L - kernel): an even kernel reaches one further to the left. With a stride the cells of a run share the window of its
    middle one. A causal axis sees i - kernel + 1 to i, fewer at its beginning, counted from the last cell of a run. With a
    dilation all this is among the cells of one residue.

    Shapes: q (..., heads, i, d), k (..., kv_heads, i, d), v (..., kv_heads, i, e), i = the cells of the grid in row-major
    order -> (..., heads, i, e). Only the neighbours' scores are computed.

    Args:
        q: queries.
        k: keys.
        v: values.
        grid: (length,), (rows, columns), ...
        kernel: cells of a window, one number or one an axis.
        dilation: steps between them.
        stride: cells that share a window.
        causal: for all axes or each.
        scale: None is d ** -0.5.

    Raises:
        TypeError, ValueError: a grid that is not the tokens', kernel times dilation above an axis, a stride above the kernel.

    Paper: Hassani et al. 2022, arXiv:2204.07143; dilated: arXiv:2209.15001; strided: arXiv:2504.16922.

    >>> x = np.arange(4.0)[:, None]
    >>> neighborhood_attention(x * 0, x * 0, x, grid=(4,), kernel=3)[:, 0]
    array([1., 1., 2., 2.])
    """
    grid, axes = check_neighbourhood(q, k, grid, kernel, dilation, stride, causal)
    near, seen = joined(grid, [neighbours(axis) for axis in axes])
    # Each cell stands in the place of a head, as each has keys of its own: (..., kv_heads, cells, groups, d).
    queries = np.swapaxes(split_group(q, k.shape[-3]), -2, -3)
    scores = scores_of(queries, k[..., near, :], scale=scale, visible=seen[:, None, :])
    out = softmax(scores) @ v[..., near, :]
    return np.swapaxes(out, -2, -3).reshape(*q.shape[:-1], v.shape[-1])
