"""Tokens of a grid in row-major order: cut into windows, put together again, and shifted along the axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn.ops.checks import has_axes, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array

Grid = tuple[int, ...]


def check_cells(grid: Any) -> Grid:
    """Returns the sizes of a grid, ints of 1 or more."""
    if not isinstance(grid, tuple) or not grid:
        raise TypeError(f"grid: expected a tuple of sizes, got {type(grid).__name__}")
    return tuple(whole("grid", n, 1) for n in grid)


def check_grid(grid: Any, x: Array, *, name: str = "q") -> Grid:
    """Returns the sizes of a grid whose cells are the tokens of x (..., length, dim)."""
    grid, shape = check_cells(grid), has_axes(name, x, 2)
    if math.prod(grid) != shape[-2]:
        raise ValueError(f"grid: expected sizes whose product is the length of {name} {shape}, got {grid}")
    return grid


def per_axis(name: str, value: Any, grid: Grid, *, least: int = 1) -> Grid:
    """Returns one int per axis of the grid; the caller gives one for all axes, or one per axis."""
    each = value if isinstance(value, tuple) else (value,) * len(grid)
    if len(each) != len(grid):
        raise ValueError(f"{name}: expected one number, or one per axis of the grid {grid}, got {value}")
    return tuple(whole(name, n, least) for n in each)


def check_axis(axis: int, grid: Grid) -> int:
    """Returns an axis of the grid, counted from the first."""
    if isinstance(axis, (bool, np.bool_)) or not isinstance(axis, (int, np.integer)):
        raise TypeError(f"axis: expected an int, got {type(axis).__name__}")
    if not -len(grid) <= axis < len(grid):
        raise ValueError(f"axis: expected one of the {len(grid)} axes of the grid {grid}, got {axis}")
    return int(axis) % len(grid)


def check_sides(name: str, value: Any, grid: Grid) -> Grid:
    """Returns the sides of windows that divide the grid; a side longer than an axis is cut to its length.

    >>> check_sides("window", 2, (4, 1))
    (2, 1)
    """
    sides = tuple(min(side, n) for side, n in zip(per_axis(name, value, grid), grid, strict=True))
    if any(n % side for side, n in zip(sides, grid, strict=True)):
        raise ValueError(f"{name}: expected a divisor of the grid {grid} along every axis, got {value}")
    return sides


def check_shifted(q: Array, k: Array, grid: Any, window: Any, shift: Any) -> tuple[Grid, Grid, Grid]:
    """Returns the sizes of a grid that q and k fill, the sides of its windows, and by how many cells they are shifted.

    Only the remainder of a shift by the side matters, and a window as long as an axis is not shifted along it.
    """
    grid = check_grid(grid, q)
    check_grid(grid, k, name="k")
    window, shift = check_sides("window", window, grid), per_axis("shift", shift, grid, least=0)
    return grid, window, tuple(0 if w == n else s % w for n, w, s in zip(grid, window, shift, strict=True))


def to_windows(x: Array, grid: Grid, window: Grid) -> Array:
    """Returns (..., heads, length, dim) as (..., windows, heads, tokens of a window, dim).

    >>> to_windows(np.arange(4.0).reshape(1, 4, 1), (4,), (2,))[:, 0, :, 0]
    array([[0., 1.],
           [2., 3.]])
    """
    *lead, heads, _, dim = x.shape
    n, counts = len(grid), [size // w for size, w in zip(grid, window, strict=True)]
    cut = x.reshape(*lead, heads, *(part for pair in zip(counts, window, strict=True) for part in pair), dim)
    first = len(lead)
    order = [*range(first), *range(first + 1, first + 1 + 2 * n, 2), first, *range(first + 2, first + 2 + 2 * n, 2), first + 1 + 2 * n]
    return np.transpose(cut, order).reshape(*lead, math.prod(counts), heads, math.prod(window), dim)


def from_windows(x: Array, grid: Grid, window: Grid) -> Array:
    """Returns (..., windows, heads, tokens of a window, dim) as (..., heads, length, dim): the inverse of `to_windows`.

    >>> from_windows(to_windows(np.arange(8.0).reshape(1, 8, 1), (2, 4), (1, 2)), (2, 4), (1, 2))[0, :, 0]
    array([0., 1., 2., 3., 4., 5., 6., 7.])
    """
    *lead, _, heads, _, dim = x.shape
    n, counts = len(grid), [size // w for size, w in zip(grid, window, strict=True)]
    cut = x.reshape(*lead, *counts, heads, *window, dim)
    first = len(lead)
    order = [*range(first), first + n, *(axis for i in range(n) for axis in (first + i, first + n + 1 + i)), first + 2 * n + 1]
    return np.transpose(cut, order).reshape(*lead, heads, math.prod(grid), dim)


def roll_grid(x: Array, grid: Grid, shift: Grid) -> Array:
    """Returns (..., length, dim) with the cells shifted cyclically along each axis of the grid, as np.roll does.

    >>> roll_grid(np.arange(4.0)[:, None], (4,), (-1,))[:, 0]
    array([1., 2., 3., 0.])
    """
    if not any(shift):
        return x
    cells = x.reshape(*x.shape[:-2], *grid, x.shape[-1])
    return np.roll(cells, shift, axis=tuple(range(-1 - len(grid), -1))).reshape(x.shape)


def coordinates(grid: Grid) -> Array:
    """Returns the coordinates (length, axes) of the cells in row-major order.

    >>> coordinates((1, 2)).tolist()
    [[0, 0], [0, 1]]
    """
    return np.stack(np.unravel_index(np.arange(math.prod(grid)), grid), axis=-1)


def relative_position_index(window: int | Grid) -> Array:
    """Returns for each pair of cells of a window its row in a bias table, which has one row per difference of coordinates.

    A window (M,) is a line, (M, N) a rectangle, M is short for (M, M); rows are 0 to (2 M - 1) (2 N - 1) - 1. arXiv:2103.14030.

    >>> relative_position_index(2)
    array([[4, 3, 1, 0],
           [5, 4, 2, 1],
           [7, 6, 4, 3],
           [8, 7, 5, 4]])
    """
    sides = per_axis("window", window, window if isinstance(window, tuple) else (window, window))
    cells = coordinates(sides)
    apart = cells[:, None] - cells + sides - 1
    index: Array = np.ravel_multi_index(tuple(np.moveaxis(apart, -1, 0)), tuple(2 * side - 1 for side in sides))
    return index


def regions(grid: Grid, window: Grid, shift: Grid) -> Array:
    """Returns (windows, 1, cells, cells): which cells of each window of the rolled grid were neighbours before the roll.

    Along an axis of n cells, those from n - shift on came from the other end.
    """
    crossed = (coordinates(grid) >= np.subtract(grid, shift)) @ 2 ** np.arange(len(grid))
    region = to_windows(crossed[None, :, None], grid, window)
    return region == region.mT


def relative_bias(table: Any, window: Grid, heads: int) -> Array:
    """Returns (heads, cells, cells): for each pair of a window's cells its row of a table."""
    table = floating("bias_table", table)
    rows = int(np.prod([2 * side - 1 for side in window]))
    if table.shape != (rows, heads):
        raise ValueError(f"bias_table: expected shape ({rows}, {heads}) for windows of {window}, got shape {table.shape}")
    return np.moveaxis(table[relative_position_index(window)], -1, 0)
