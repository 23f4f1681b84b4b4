"""Decomposed positions (MViT, SAM): a bias on a grid from one table of vertical distances and one of horizontal ones."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.relation_arguments import check_grid_tables
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid


@shapes("(i,d)->(i,i)")
def decomposed_position_bias(q: Array, *, table_y: Array, table_x: Array, grid: Grid) -> Array:
    """Returns a bias: each query's product with a vector of the rows between two cells, plus that with one of the columns.

    Formula: bias_ij = q_i . table_y[y_i - y_j + rows - 1] + q_i . table_x[x_i - x_j + columns - 1]. The query is not scaled:
    only its product with the key is.

    Shapes: q (..., heads, i, d), i = the cells of the grid in row-major order, table_y (2 rows - 1, d), table_x
    (2 columns - 1, d) -> (..., heads, i, i), for `bias=`.

    Options: grid is (rows, columns). Both tables are shared by all heads.

    Raises:
        TypeError, ValueError: a grid of another number of cells or axes, a table of another shape.

    Paper: Li et al. 2021, arXiv:2112.01526; Kirillov et al. 2023, arXiv:2304.02643.

    >>> q = np.ones((2, 1))
    >>> decomposed_position_bias(q, table_y=np.zeros((1, 1)), table_x=np.array([[-1.0], [0.0], [1.0]]), grid=(1, 2))
    array([[ 0., -1.],
           [ 1.,  0.]])
    """
    (rows, columns), table_y, table_x = check_grid_tables(grid, table_y, table_x, q)
    cells = q.reshape(*q.shape[:-2], rows, columns, q.shape[-1])
    down, along = (np.arange(side)[:, None] - np.arange(side) + side - 1 for side in (rows, columns))
    of_rows = cells @ table_y[down].mT  # (..., heads, y_i, x_i, y_j)
    of_columns = (np.swapaxes(cells, -3, -2) @ table_x[along].mT).swapaxes(-3, -2)  # (..., heads, y_i, x_i, x_j)
    return (of_rows[..., :, None] + of_columns[..., None, :]).reshape(*q.shape[:-1], rows * columns)
