"""Rows of the caller's arrays brought into tiles, and elementwise steps on the rows of a tile."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from tinyattn.kernels.tiles.jit import inlined, reassociated
from tinyattn.kernels.tiles.vector import scale_row, turn_block


@inlined
def load_rows(target, width, filled, source, at, step, rows, dim, factor, micro):
    """Fills target [filled][width] with factor times the rows of source, and with zeros where there are none."""
    whole = dim // micro * micro
    for r in range(rows):
        for c in range(0, whole, micro):
            scale_row(target, r * width + c, source, at + r * step + c, factor)
        for c in range(whole, dim):
            target[r * width + c] = source[at + r * step + c] * factor
        for c in range(dim, width):
            target[r * width + c] = 0
    for x in range(rows * width, filled * width):
        target[x] = 0


@inlined
def store_rows(target, at, source, width, rows, dim, factor, micro):
    """Fills rows of target, `dim` numbers each, with factor times the first rows of source [..][width]."""
    whole = dim // micro * micro
    for r in range(rows):
        for c in range(0, whole, micro):
            scale_row(target, at + r * dim + c, source, r * width + c, factor)
        for c in range(whole, dim):
            target[at + r * dim + c] = source[r * width + c] * factor


@inlined
def load_state(panels, dim, source, at, rows, columns, micro):
    """Fills panels [..][dim][micro] with a state [rows][columns], and with zeros where there is none."""
    for x in range(panels.size):
        panels[x] = 0
    for column in range(0, columns, micro):
        for r in range(rows):
            for c in range(min(micro, columns - column)):
                panels[column * dim + r * micro + c] = source[at + r * columns + column + c]


@inlined
def store_state(target, at, panels, dim, rows, columns, micro):
    """Fills a state [rows][columns] with panels [..][dim][micro]."""
    for column in range(0, columns, micro):
        for r in range(rows):
            for c in range(min(micro, columns - column)):
                target[at + r * columns + column + c] = panels[column * dim + r * micro + c]


@inlined
def turn_state(target, panels, rows, width, block, micro):
    """Fills panels [rows // micro][width][micro] with the transpose of a state in panels [width // micro][rows][micro]."""
    one = panels.dtype.type(1)
    for column in range(0, width, micro):
        for r in range(0, rows, block):
            for c in range(0, micro, block):
                turn_block(target, (r // micro * width + column + c) * micro + r % micro, micro, panels,
                           column * rows + r * micro + c, micro, one, block)


@inlined
def scale_rows(x, width, rows, factors, micro):
    """Multiplies row r of x [..][width] by factors[r]."""
    for r in range(rows):
        for c in range(r * width, (r + 1) * width, micro):
            scale_row(x, c, x, c, factors[r])


@inlined
def scaled_rows(target, x, width, rows, factors, micro):
    """Fills target with row r of x [..][width] times factors[r]."""
    for r in range(rows):
        for c in range(r * width, (r + 1) * width, micro):
            scale_row(target, c, x, c, factors[r])


@inlined
def scale_all(x, factor, micro):
    """Multiplies every number of x by the factor."""
    for c in range(0, x.size, micro):
        scale_row(x, c, x, c, factor)


@reassociated
def add_all(x, y, count):
    """Adds y to x."""
    for c in range(count):
        x[c] += y[c]


@reassociated
def add_scaled(x, to, y, source, factor, count):
    """Adds factor times `count` numbers of y to as many of x."""
    into, row = x[to : to + count], y[source : source + count]
    for c in range(count):
        into[c] += factor * row[c]


@reassociated
def dot(x, x_at, y, y_at, count):
    """Returns the inner product of `count` numbers, summed in their own dtype."""
    total = x.dtype.type(0)
    left, right = x[x_at : x_at + count], y[y_at : y_at + count]
    for c in range(count):
        total += left[c] * right[c]
    return total


@reassociated
def dot_of_three(x, x_at, y, y_at, z, z_at, count):
    """Returns the sum of the products of `count` numbers of each of three rows, in their own dtype."""
    total = x.dtype.type(0)
    first, second, third = x[x_at : x_at + count], y[y_at : y_at + count], z[z_at : z_at + count]
    for c in range(count):
        total += first[c] * second[c] * third[c]
    return total
