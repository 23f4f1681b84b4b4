"""Neighbourhoods of the cells of a grid: one window of cells per axis, and their product."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.ops.options import check_causal
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, check_grid, coordinates, per_axis


class Axis(NamedTuple):
    """One axis of a grid, and the windows of its cells."""

    length: int
    kernel: int
    dilation: int
    stride: int
    causal: bool


def check_neighbourhood(q: Array, k: Array, grid: Any, kernel: Any, dilation: Any, stride: Any,
                        causal: Any) -> tuple[Grid, tuple[Axis, ...]]:
    """Returns a grid, and its axes with the windows of their cells."""
    grid = check_grid(grid, q)
    check_grid(grid, k, name="k")
    sizes, steps, runs = (per_axis(name, x, grid) for name, x in (("kernel", kernel), ("dilation", dilation), ("stride", stride)))
    along = causal if isinstance(causal, tuple) else (causal,) * len(grid)
    if len(along) != len(grid):
        raise ValueError(f"causal: expected a bool or one for each axis of the grid {grid}, got {causal}")
    return grid, tuple(check_windows(length, size, step, run, check_causal(is_causal))
                       for length, size, step, run, is_causal in zip(grid, sizes, steps, runs, along, strict=True))


def check_windows(length: int, kernel: int, dilation: int, stride: int, is_causal: bool) -> Axis:
    """Returns an axis; ValueError if a window is wider than it, or a run of cells wider than a window."""
    if kernel * dilation > length:
        raise ValueError(f"kernel: expected kernel times dilation of at most the axis {length}, got {kernel} times {dilation}")
    if stride > kernel:
        raise ValueError(f"stride: expected at most the kernel {kernel}, got {stride}")
    return Axis(length, kernel, dilation, stride, is_causal)


def neighbours(axis: Axis) -> tuple[Array, Array]:
    """Returns for each cell of an axis the indices in its window, and which it sees; the others are replaced by its own index."""
    length, kernel, dilation, stride, is_causal = axis
    i = np.arange(length)
    residue, place = i % dilation, i // dilation
    last = (length - 1 - residue) // dilation  # the last place among the cells of a residue
    middle = stride - 1 if is_causal else stride // 2
    leader = np.minimum(place // stride * stride + middle, last)
    start = leader - (kernel - 1) if is_causal else np.clip(leader - kernel // 2, 0, last + 1 - kernel)
    window = start[:, None] + np.arange(kernel)
    seen = (window >= 0) & (window <= place[:, None]) if is_causal else np.ones(window.shape, bool)
    return np.where(seen, window * dilation + residue[:, None], i[:, None]), seen


def joined(grid: Grid, tables: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Returns the product of the axes' windows: (cells, neighbours) of indices in row-major order, and which of them are seen."""
    at, near, seen = coordinates(grid), np.zeros((1, 1), np.int64), np.ones((1, 1), bool)
    for axis, (table, visible) in enumerate(tables):
        index, shown = table[at[:, axis]], visible[at[:, axis]]
        near = (near[..., None] * grid[axis] + index[:, None, :]).reshape(len(at), -1)
        seen = (seen[..., None] & shown[:, None, :]).reshape(len(at), -1)
    return near, seen
