"""Products with rows as they stand in an array: what a tile reads a few times only is not packed into panels first."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import micro_add


@inlined
def product_add_rows(c, c_at, ldc, c_panel, a, a_at, a_row, a_col, b, b_at, b_row, rows, columns, depth, micro_columns, below, above):
    """C[rows, columns] += A[rows, depth] B[depth, columns], as `product_add`; B stands in rows, `b_row` from one to the next.

    A tile of 64 keys of 64, 128 or 256 numbers takes 0.93 times as long so as packed and multiplied, and one of 512 keys as long.
    """
    for column in range(0, columns, micro_columns):
        for row in range(0, rows, ROWS):
            start, stop = max(0, row + below), min(depth, row + ROWS + above)
            into = c_at + row * ldc + column // micro_columns * c_panel
            micro_add(c, into, ldc, a, a_at + row * a_row + start * a_col, a_row, a_col, b, b_at + start * b_row + column, b_row,
                      stop - start)
