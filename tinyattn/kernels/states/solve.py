"""The triangular systems of the delta rule, solved on micro tiles."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.tiles.jit import inlined, reassociated
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import micro_add


@reassociated
def add_scaled(x, to, y, source, factor, count):
    """Adds factor times `count` numbers of y to as many of x."""
    into, row = x[to : to + count], y[source : source + count]
    for c in range(count):
        into[c] += factor * row[c]


@inlined
def substitute_down(x, lower, rows, width, columns, micro):
    """Replaces the panels x by the solution of (I - lower) y = x, lower strictly lower triangular, from the first row on.

    A later row never changes an earlier one, as it would where the rows are pivoted.
    """
    for panel in range(0, columns * width, micro * width):
        for row in range(0, rows, ROWS):
            micro_add(x, panel + row * micro, micro, lower, row * width, width, 1, x, panel, micro, row)
            for i in range(row + 1, min(row + ROWS, rows)):
                for j in range(row, i):
                    add_scaled(x, panel + i * micro, x, panel + j * micro, lower[i * width + j], micro)


@inlined
def substitute_up(x, lower, rows, width, columns, micro):
    """Replaces the panels x by the solution of (I - lower)^T y = x, from the last row on."""
    last = (rows - 1) // ROWS * ROWS
    for panel in range(0, columns * width, micro * width):
        for row in range(last, -1, -ROWS):
            after = row + ROWS
            if after < rows:
                micro_add(x, panel + row * micro, micro, lower, after * width + row, 1, width, x, panel + after * micro, micro,
                          rows - after)
            for i in range(min(after, rows) - 1, row, -1):
                for j in range(row, i):
                    add_scaled(x, panel + j * micro, x, panel + i * micro, lower[i * width + j], micro)
