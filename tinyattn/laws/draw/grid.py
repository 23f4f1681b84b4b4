"""Problems of images: a grid of cells with windows, lines, neighbourhoods, means of blocks, channels and places."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.laws.draw.options import but, given
from tinyattn.laws.problem import Problem, Sizes, arrays
from tinyattn.ops.windows import Grid


def image(rng: np.random.Generator, sizes: Sizes, grid: Grid, **options: Any) -> Problem:
    """Returns a problem with one token per cell of the grid and at most two query heads per kv head, scaled half of the time."""
    if rng.random() < 0.5:
        options["scale"] = 0.5
    length = math.prod(grid)
    return arrays(rng, replace(sizes, groups=min(sizes.groups, 2), q_len=length, kv_len=length), grid=grid, **options)


def tiles(rng: np.random.Generator, axes: int, *, least: int = 1) -> tuple[Grid, Grid]:
    """Returns a grid and the sides of windows that divide it, at least `least` windows along every axis."""
    window = tuple(int(n) for n in rng.integers(1, 4, axes))
    return tuple(side * int(rng.integers(least, 5 - axes)) for side in window), window


def line_or_plane(rng: np.random.Generator) -> int:
    """Returns one or two, the number of axes."""
    return int(rng.integers(1, 3))


def shifted_windows(rng: np.random.Generator, sizes: Sizes, axes: int | None = None, least: int = 1) -> Problem:
    """Draws windows on a line or a plane whose borders are shifted, with a bias table half of the time."""
    grid, window = tiles(rng, axes or line_or_plane(rng), least=least)
    p = image(rng, sizes, grid, window=window, shift=tuple(int(n) for n in rng.integers(0, 4, len(grid))))
    return with_table(rng, p) if rng.random() < 0.5 else p


def with_table(rng: np.random.Generator, p: Problem) -> Problem:
    """Returns the problem with a bias table for its windows."""
    rows = math.prod(2 * side - 1 for side in p.options["window"])
    return p.but(bias_table=rng.standard_normal((rows, p.q.shape[-3])).astype(p.q.dtype))


def without_table(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws the same without a bias table."""
    return shifted_windows(rng, sizes).but(bias_table=None)


def covering_window(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws a window that covers the grid or is larger, so that its shift has no effect."""
    p = shifted_windows(rng, sizes).but(bias_table=None)
    grid = p.options["grid"]
    if rng.random() < 0.3:
        return p.but(window=tuple(n + 1 for n in grid))
    p = p.but(window=grid)
    return with_table(rng, p) if rng.random() < 0.5 else p


def half_shifted(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws a line of at least two windows of an even side, shifted by half a window."""
    half, count = (int(n) for n in rng.integers((1, 2), (3, 4)))
    return image(rng, sizes, (2 * half * count,), window=(2 * half,), shift=(half,))


def windows(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws windows on a line or a plane."""
    grid, window = tiles(rng, line_or_plane(rng))
    return image(rng, sizes, grid, window=window)


def pooled_blocks(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws blocks and their means, with the queries of all cells or of some."""
    grid, ratio = tiles(rng, line_or_plane(rng))
    p = image(rng, sizes, grid, ratio=ratio)
    return p.but(q=p.q[..., : int(rng.integers(1, p.q.shape[-2] + 1)), :])


def lines(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws lines along one of up to three axes, causal half of the time."""
    grid = tuple(int(n) for n in rng.integers(1, 5, int(rng.integers(1, 4))))
    return image(rng, sizes, grid, axis=int(rng.integers(-len(grid), len(grid))), causal=bool(rng.random() < 0.5))


def lines_one_wide(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws an image one cell wide that is read along its other axis."""
    grid = [1, 1]
    axis = int(rng.integers(2))
    grid[axis] = int(rng.integers(1, 9))
    return image(rng, sizes, tuple(grid), axis=axis)


def unequal_sides(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws an image whose sides differ."""
    return image(rng, sizes, ((2, 5), (4, 3), (1, 4))[int(rng.integers(3))], axis=int(rng.integers(2)))


def plain_neighbourhoods(p: Problem) -> Problem:
    """Returns the problem with neighbourhoods without dilation, stride or causality."""
    ones = (1,) * len(p.options["grid"])
    return p.but(dilation=ones, stride=ones, causal=(False,) * len(ones))


def neighbourhoods(rng: np.random.Generator, sizes: Sizes, axes: int | None = None) -> Problem:
    """Draws neighbourhoods that are dilated, strided and causal along some axes half of the time."""
    axes = axes or line_or_plane(rng)
    kernel = tuple(int(n) for n in rng.integers(1, 6 - axes, axes))
    dilation = tuple(int(n) for n in rng.integers(1, 3, axes))
    grid = tuple(n * step + int(rng.integers(0, 4)) for n, step in zip(kernel, dilation, strict=True))
    p = image(rng, sizes, grid, kernel=kernel, dilation=dilation, stride=tuple(int(rng.integers(1, n + 1)) for n in kernel),
              causal=tuple(bool(rng.random() < 0.3) for _ in grid))
    return p if rng.random() < 0.5 else plain_neighbourhoods(p)


def odd_kernel(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws a line with an odd kernel."""
    return plain_neighbourhoods(image(rng, sizes, (int(rng.integers(5, 9)),), kernel=(int(rng.choice([1, 3, 5])),)))


def stride_of_the_kernel(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws neighbourhoods whose stride is their kernel, on a grid that it divides."""
    grid, window = tiles(rng, line_or_plane(rng))
    return plain_neighbourhoods(image(rng, sizes, grid, kernel=window)).but(stride=window)


def channels(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws an image of a few channels as q and the weights of a gate; k and v are empty."""
    shape = (*sizes.leading, int(rng.integers(1, 5)), *(int(n) for n in rng.integers(1, 6, 2)))
    size = int(rng.choice([1, 3]))
    x = rng.standard_normal(shape)
    nothing = np.zeros((*shape[:-1], 0))
    return Problem(x, nothing, nothing, {"kernel": rng.standard_normal((2, size, size)),
                                         "bias": rng.standard_normal(())}).astype(sizes.dtype)


def placed_cells(rng: np.random.Generator, sizes: Sizes, grid: Grid | None = None) -> Problem:
    """Draws an image whose head_dim is a multiple of 4."""
    grid = grid or tuple(int(n) for n in rng.integers(1, 5, 2))
    p = image(rng, sizes, grid)
    return p.but(**{name: np.repeat(getattr(p, name), 4, axis=-1) for name in "qk"})


def cells_one_wide(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws an image one cell wide or high."""
    length = int(rng.integers(1, 9))
    return placed_cells(rng, sizes, (length, 1) if rng.random() < 0.5 else (1, length))


UNSHIFTED = but(without_table, lambda p: p.but(shift=(0,) * len(p.options["grid"])))
UNSHIFTED_LINE = but(lambda rng, sizes: shifted_windows(rng, sizes, 1), lambda p: p.but(shift=(0,), bias_table=None))
WHOLE_KERNEL = but(neighbourhoods, lambda p: plain_neighbourhoods(p).but(kernel=p.options["grid"]))
KERNEL_OF_ONE = given(neighbourhoods, kernel=1, stride=1)
CAUSAL_LINE = but(lambda rng, sizes: neighbourhoods(rng, sizes, 1), lambda p: plain_neighbourhoods(p).but(causal=True))
