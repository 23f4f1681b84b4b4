"""The triangular systems of the delta rule, solved on micro tiles."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.states.registers import solve_rows
from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import micro_add


@inlined
def clear_edge(x, rows, width, columns, micro):
    """Clears the rows of panels that fill up the last micro tile: what stood there may not be finite, and is multiplied by 0."""
    for panel in range(0, columns * width, micro * width):
        for at in range(panel + rows * micro, panel + (rows + ROWS - 1) // ROWS * ROWS * micro):
            x[at] = 0


@inlined
def substitute_down(x, lower, rows, width, columns, micro):
    """Replaces the panels x by the solution of (I - lower) y = x, lower strictly lower triangular, from the first row on.

    A later row never changes an earlier one, as it would where the rows are pivoted.
    """
    clear_edge(x, rows, width, columns, micro)
    for panel in range(0, columns * width, micro * width):
        for row in range(0, rows, ROWS):
            micro_add(x, panel + row * micro, micro, lower, row * width, width, 1, x, panel, micro, row)
            solve_rows(x, panel + row * micro, micro, lower, row * width + row, width, 1)


@inlined
def substitute_up(x, lower, rows, width, columns, micro):
    """Replaces the panels x by the solution of (I - lower)^T y = x, from the last row on."""
    clear_edge(x, rows, width, columns, micro)
    for panel in range(0, columns * width, micro * width):
        for row in range((rows - 1) // ROWS * ROWS, -1, -ROWS):
            after, end = row + ROWS, row + ROWS - 1
            if after < rows:
                micro_add(x, panel + row * micro, micro, lower, after * width + row, 1, width, x, panel + after * micro, micro,
                          rows - after)
            solve_rows(x, panel + end * micro, -micro, lower, end * width + end, -1, -width)
