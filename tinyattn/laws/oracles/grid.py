"""Attention on a grid written another way: visibility decided cell by cell, parts one by one, whole maps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinyattn import definitions, ops
from tinyattn.laws.oracles.calls import restored, written_out
from tinyattn.laws.problem import repeat_heads
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid

# From an axis (its number among the grid's) and two coordinates on it: may the first see the second?
Rule = Callable[[int, Array, Array], Any]


def cells(grid: Grid, rule: Rule, text: str = "cells") -> Pattern:
    """Returns the pattern of a grid in row-major order in which a cell sees another if the rule allows it along every axis.

    >>> cells((2, 2), lambda axis, a, b: a == b).dense(4, 4).sum()
    np.int64(4)
    """
    def see(i: Array, j: Array) -> Any:
        pairs = zip(np.unravel_index(i, grid), np.unravel_index(j, grid), strict=True)
        return np.logical_and.reduce(np.broadcast_arrays(*(rule(axis, a, b) for axis, (a, b) in enumerate(pairs))))

    return Pattern(see, text=text)


def shifts(grid: Grid, window: Grid, shift: Grid) -> Grid:
    """Returns how far the borders of the windows are shifted along each axis; one window alone has no shift."""
    return tuple(0 if w >= n else s % w for n, w, s in zip(grid, window, shift, strict=True))


def shared_window(grid: Grid, window: Grid, shift: Grid) -> Rule:
    """Returns the rule that two cells share a window whose borders are at shift, shift + window, and so on."""
    by = shifts(grid, window, shift)
    return lambda axis, a, b: (a - by[axis]) // window[axis] == (b - by[axis]) // window[axis]


def shared_line(along: int) -> Rule:
    """Returns the rule that two cells differ along this axis alone."""
    return lambda axis, a, b: (a == b) | (axis == along)


def neighbour(grid: Grid, kernel: Grid, dilation: Grid, stride: Grid, causal: tuple[bool, ...]) -> Rule:
    """Returns the rule that a cell is among the nearest of another: a window whose centre keeps away from both ends."""
    def near(axis: int, a: Array, b: Array) -> Any:
        n, size, step, run = grid[axis], kernel[axis], dilation[axis], stride[axis]
        same, place, other = a % step == b % step, a // step, b // step
        last = -(-(n - a % step) // step) - 1
        if causal[axis]:
            return same & (other <= place) & (np.minimum(place // run * run + run - 1, last) - other < size)
        left, right = size // 2, (size - 1) // 2
        centre = np.clip(np.minimum(place // run * run + run // 2, last), left, last - right)
        return same & (centre - left <= other) & (other <= centre + right)

    return near


def masked(q: Array, k: Array, v: Array, *, grid: Grid, rule: Rule, **options: Any) -> Any:
    """Returns attention of all cells with a mask made by the rule."""
    return definitions.attention(q, k, v, mask=cells(grid, rule), **options)


def by_parts(q: Array, k: Array, v: Array, parts: Iterable[Array], *, scale: float | None = None,
             bias: Callable[[Array], Array | None] = lambda part: None) -> Array:
    """Returns attention in which each part of the tokens (an array of their indices) reads itself alone, with its own bias."""
    parts = list(parts)
    outs = [written_out(q[..., part, :], k[..., part, :], v[..., part, :], scale, bias(part)) for part in parts]
    return restored(outs, np.concatenate(parts))


def ragged(grid: Grid, window: Grid, shift: Grid) -> list[Array]:
    """Returns the cells of every window when the borders are shifted: the windows at both ends are smaller.

    >>> [part.tolist() for part in ragged((5,), (2,), (1,))]
    [[0], [1, 2], [3, 4]]
    """
    runs = []
    for n, side, by in zip(grid, window, shifts(grid, window, shift), strict=True):
        ends = sorted({0, *range(by, n, side), n})
        runs.append([range(*pair) for pair in itertools.pairwise(ends)])
    tokens = np.arange(math.prod(grid)).reshape(grid)
    return [tokens[np.ix_(*part)].reshape(-1) for part in itertools.product(*runs)]


def table_rows(part: Array, grid: Grid, window: Grid) -> Array:
    """Returns the row of a bias table that each pair of some cells reads: their difference, counted from -(side - 1).

    >>> table_rows(np.arange(2), (2,), (2,))
    array([[1, 0],
           [2, 1]])
    """
    rows: Array = np.zeros((len(part), len(part)), int)
    for place, side in zip(np.unravel_index(part, grid), window, strict=True):
        rows = rows * (2 * side - 1) + place[:, None] - place + side - 1
    return rows


def bias_of_table(part: Array, grid: Grid, window: Grid, table: Array | None) -> Array | None:
    """Returns the bias (heads, n, n) that a table gives to the pairs of some cells, or None without a table."""
    return None if table is None else np.moveaxis(table[table_rows(part, grid, window)], -1, 0)


def ragged_windows(q: Array, k: Array, v: Array, *, grid: Grid, window: Grid, shift: Grid = (0, 0, 0),
                   bias_table: Array | None = None, scale: float | None = None) -> Array:
    """Returns attention within the windows between the shifted borders, one by one."""
    return by_parts(q, k, v, ragged(grid, window, shift[: len(grid)]), scale=scale,
                    bias=lambda part: bias_of_table(part, grid, window, bias_table))


def within_windows(q: Array, k: Array, v: Array, *, grid: Grid, window: Grid, shift: Grid, bias_table: None = None,
                   scale: float | None = None) -> Any:
    """Returns attention of all cells with a mask of shared windows."""
    return masked(q, k, v, grid=grid, rule=shared_window(grid, window, shift), scale=scale)


def all_cells(q: Array, k: Array, v: Array, *, grid: Grid, bias_table: Array | None = None, scale: float | None = None,
              **options: Any) -> Any:
    """Returns attention of every cell to all cells."""
    return definitions.attention(q, k, v, scale=scale, bias=bias_of_table(np.arange(math.prod(grid)), grid, grid, bias_table))


def blocks_of_text(q: Array, k: Array, v: Array, *, grid: Grid, window: Grid, shift: Grid, bias_table: None = None,
           scale: float | None = None) -> Any:
    """Returns local attention by blocks of the text."""
    return definitions.multi_head_local_attention(q, k, v, window=window[0], mode="block", causal=False, scale=scale)


def shifted_heads(q: Array, k: Array, v: Array, *, grid: Grid, window: Grid, shift: Grid, scale: float | None = None) -> Any:
    """Returns the shifted half of the heads of shifted sparse attention with twice the heads."""
    twice = (np.concatenate((x, x), axis=-3) for x in (q, k, v))
    out = definitions.shifted_sparse_attention(*twice, group=window[0], causal=False, scale=scale)
    return out[..., q.shape[-3] :, :, :]


def averages(q: Array, k: Array, v: Array, *, grid: Grid, ratio: Grid, scale: float | None = None) -> Any:
    """Returns Linformer with projections that average blocks."""
    rows = np.stack([np.isin(np.arange(math.prod(grid)), part) / len(part) for part in ragged(grid, ratio, (0,) * len(grid))])
    project = rows.astype(q.dtype)
    return definitions.linformer_attention(q, k, v, project_k=project, project_v=project, scale=scale)


def mean_of_all(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """Returns the mean of all values for every query."""
    mean = repeat_heads(q, np.mean(v, axis=-2, keepdims=True))[0]
    return np.repeat(mean, q.shape[-2], axis=-2)


def line_by_line(q: Array, k: Array, v: Array, *, grid: Grid, axis: int, causal: bool = False, scale: float | None = None) -> Array:
    """Returns attention within every line, one by one."""
    tokens = np.moveaxis(np.arange(math.prod(grid)).reshape(grid), axis, -1)
    later = np.where(causal & ~np.tri(grid[axis], dtype=bool), -np.inf, 0.0).astype(q.dtype)
    return by_parts(q, k, v, tokens.reshape(-1, grid[axis]), scale=scale, bias=lambda line: later)


def along_lines(q: Array, k: Array, v: Array, *, grid: Grid, axis: int, causal: bool, scale: float | None = None) -> Any:
    """Returns attention of all cells with a mask of shared lines."""
    along = axis % len(grid)
    line = shared_line(along)
    return masked(q, k, v, grid=grid, scale=scale, rule=lambda n, a, b: line(n, a, b) & ((n != along) | (b <= a) | (not causal)))


def to_neighbours(q: Array, k: Array, v: Array, *, grid: Grid, kernel: Grid, dilation: Grid, stride: Grid,
                  causal: tuple[bool, ...], scale: float | None = None) -> Any:
    """Returns attention of all cells with a mask of neighbours."""
    return masked(q, k, v, grid=grid, rule=neighbour(grid, kernel, dilation, stride, causal), scale=scale)


def last_cells(q: Array, k: Array, v: Array, *, kernel: Grid, scale: float | None = None, **options: Any) -> Any:
    """Returns local attention to the last tokens."""
    return definitions.multi_head_local_attention(q, k, v, window=kernel[0], causal=True, scale=scale)


def sliding_window(q: Array, k: Array, v: Array, *, kernel: Grid, scale: float | None = None, **options: Any) -> Any:
    """Returns attention with a window that becomes smaller at the ends."""
    return definitions.attention(q, k, v, window=(kernel[0] // 2, kernel[0] // 2), scale=scale)


def unshifted_windows(q: Array, k: Array, v: Array, *, grid: Grid, kernel: Grid, scale: float | None = None, **options: Any) -> Any:
    """Returns attention within windows of the kernel's size."""
    return definitions.shifted_window_attention(q, k, v, grid=grid, window=kernel, scale=scale)


def moved_and_added(q: Array, k: Array, v: Array, *, kernel: Array, bias: Array) -> Array:
    """Returns the gated image, whose gate is a sum of whole maps, one moved by each step of the kernel."""
    height, width = q.shape[-2:]
    edge = kernel.shape[1] // 2
    middle = q.sum(axis=-3) * (1.0 / q.shape[-3])
    maps = (middle, q.max(axis=-3))
    total = bias + np.zeros_like(middle)
    for (c, y, x) in np.ndindex(kernel.shape):
        rows = np.eye(height, k=y - edge, dtype=q.dtype)
        columns = np.eye(width, k=edge - x, dtype=q.dtype)
        total = total + kernel[c, y, x] * (rows @ maps[c] @ columns)
    return q / (1.0 + np.exp(-total))[..., None, :, :]


def times_image(factor: float) -> Callable[..., Array]:
    """Returns a mechanism that gives the image times a number."""
    return lambda q, k, v, **options: factor * q


def rotary_of_one_half(q: Array, k: Array, v: Array, *, grid: Grid, **options: Any) -> Any:
    """Returns attention with rotary positions along a line, on the half of the channels that belongs to it."""
    half, at = q.shape[-1] // 2, np.arange(q.shape[-2])
    first = grid[1] == 1

    def turn(x: Array) -> Array:
        a, b = x[..., :half], x[..., half:]
        return np.concatenate((ops.rotary(a, at), b) if first else (a, ops.rotary(b, at)), axis=-1)

    return definitions.attention(turn(q), turn(k), v, **options)
