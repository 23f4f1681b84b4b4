"""Laws of grids: images drawn, who sees whom cell by cell, and the same reading spelled out part by part."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.law import Draw, outputs
from tinyattn.laws.problem import Mechanism, Problem, Sizes, arrays
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid

# Of an axis (its number among the grid's) and two coordinates on it: may the one see the other?
Rule = Callable[[int, Array, Array], Any]


def image(rng: np.random.Generator, sizes: Sizes, grid: Grid, **options: Any) -> Problem:
    """Returns a problem with a token for each cell of the grid, of at most two heads a group, scaled half of the time."""
    if rng.random() < 0.5:
        options["scale"] = 0.5
    length = math.prod(grid)
    return arrays(rng, replace(sizes, groups=min(sizes.groups, 2), q_len=length, kv_len=length), grid=grid, **options)


def tiles(rng: np.random.Generator, axes: int, *, least: int = 1) -> tuple[Grid, Grid]:
    """Returns a grid and the sides of windows that divide it, `least` windows along every axis."""
    window = tuple(int(n) for n in rng.integers(1, 4, axes))
    return tuple(side * int(rng.integers(least, 5 - axes)) for side in window), window


def line_or_plane(rng: np.random.Generator) -> int:
    """Returns one or two axes."""
    return int(rng.integers(1, 3))


def smooth(draw: Draw) -> Draw:
    """Returns the drawing with plain numbers: where a softmax saturates, a float64 budget of slopes would be none."""
    return lambda rng, sizes: draw(rng, replace(sizes, regime="plain"))


def cells(grid: Grid, rule: Rule, text: str = "cells") -> Pattern:
    """Returns who sees whom on a grid in row-major order: those who may along every axis.

    >>> cells((2, 2), lambda axis, a, b: a == b).dense(4, 4).sum()
    np.int64(4)
    """
    def see(i: Array, j: Array) -> Any:
        pairs = zip(np.unravel_index(i, grid), np.unravel_index(j, grid), strict=True)
        return np.logical_and.reduce(np.broadcast_arrays(*(rule(axis, a, b) for axis, (a, b) in enumerate(pairs))))

    return Pattern(see, text=text)


def shifts(grid: Grid, window: Grid, shift: Grid) -> Grid:
    """Returns how far the borders of the windows are shifted along each axis: not at all where there is one window."""
    return tuple(0 if w >= n else s % w for n, w, s in zip(grid, window, shift, strict=True))


def shared_window(grid: Grid, window: Grid, shift: Grid) -> Rule:
    """Returns that two cells share a window whose borders stand at shift, shift + window, and so on."""
    by = shifts(grid, window, shift)
    return lambda axis, a, b: (a - by[axis]) // window[axis] == (b - by[axis]) // window[axis]


def shared_line(along: int) -> Rule:
    """Returns that two cells differ along one axis alone."""
    return lambda axis, a, b: (a == b) | (axis == along)


def neighbour(grid: Grid, kernel: Grid, dilation: Grid, stride: Grid, causal: tuple[bool, ...]) -> Rule:
    """Returns that a cell is among the nearest of another: a window around a centre kept so far from both ends."""
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
    """Attention of all cells with a mask that says who sees whom."""
    return definitions.attention(q, k, v, mask=cells(grid, rule), **options)


def read(q: Array, k: Array, v: Array, scale: float | None, bias: Array | None) -> Array:
    """Every query's mean of all values, the softmax written out."""
    k, v = (np.repeat(x, q.shape[-3] // max(k.shape[-3], 1), axis=-3) for x in (k, v))
    scores = np.einsum("...id,...jd->...ij", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores if bias is None else scores + bias
    mass = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return np.einsum("...ij,...je->...ie", mass, v) / np.sum(mass, axis=-1, keepdims=True)


def by_parts(q: Array, k: Array, v: Array, parts: Iterable[Array], *, scale: float | None = None,
             bias: Callable[[Array], Array | None] = lambda part: None) -> Array:
    """Each part of the tokens (an array of their indices) reads itself alone, with a bias of its own."""
    parts = list(parts)
    outs = [read(q[..., part, :], k[..., part, :], v[..., part, :], scale, bias(part)) for part in parts]
    return np.concatenate(outs, axis=-2)[..., np.argsort(np.concatenate(parts)), :]


def ragged(grid: Grid, window: Grid, shift: Grid) -> list[Array]:
    """Returns the cells of every window when the borders stand shifted: those at both ends are smaller.

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
    """Returns which row of a bias table each pair of some cells reads: their differences, counted from -(side - 1).

    >>> table_rows(np.arange(2), (2,), (2,))
    array([[1, 0],
           [2, 1]])
    """
    rows: Array = np.zeros((len(part), len(part)), int)
    for place, side in zip(np.unravel_index(part, grid), window, strict=True):
        rows = rows * (2 * side - 1) + place[:, None] - place + side - 1
    return rows


def turned_image(p: Problem, order: Array, **changes: Any) -> Problem:
    """Returns the problem with its tokens in another order."""
    return p.but(q=p.q[..., order, :], k=p.k[..., order, :], v=p.v[..., order, :], **changes)


def in_order(f: Mechanism, p: Problem, order: Array, **changes: Any) -> tuple[Array, ...]:
    """The outputs of the tokens in another order, put back."""
    return (outputs(turned_image(p, order, **changes).call(f))[0][..., np.argsort(order), :],)
