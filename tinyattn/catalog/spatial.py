"""Rows of lines and neighbourhoods of a grid."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.catalog.windows import GRID, MISFIT, NAN, all_cells
from tinyattn.laws import general
from tinyattn.laws.forms import agrees, but, slopes_agree
from tinyattn.laws.law import Law, outputs
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.laws.spatial import (
    by_parts,
    cells,
    image,
    in_order,
    line_or_plane,
    masked,
    neighbour,
    shared_line,
    smooth,
    tiles,
    turned_image,
)
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid


def lines(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A problem of lines along one of up to three axes, causal half of the time."""
    grid = tuple(int(n) for n in rng.integers(1, 5, int(rng.integers(1, 4))))
    return image(rng, sizes, grid, axis=int(rng.integers(-len(grid), len(grid))), causal=bool(rng.random() < 0.5))


def line_by_line(q: Array, k: Array, v: Array, *, grid: Grid, axis: int, causal: bool = False, scale: float | None = None) -> Array:
    """Every line alone."""
    tokens = np.moveaxis(np.arange(math.prod(grid)).reshape(grid), axis, -1)
    later = np.where(causal & ~np.tri(grid[axis], dtype=bool), -np.inf, 0.0).astype(q.dtype)
    return by_parts(q, k, v, tokens.reshape(-1, grid[axis]), scale=scale, bias=lambda line: later)


def along_lines(q: Array, k: Array, v: Array, *, grid: Grid, axis: int, causal: bool, scale: float | None = None) -> Any:
    """Attention of all cells with a mask of shared lines."""
    along = axis % len(grid)
    line = shared_line(along)
    return masked(q, k, v, grid=grid, scale=scale, rule=lambda n, a, b: line(n, a, b) & ((n != along) | (b <= a) | (not causal)))


def one_wide(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """An image one cell wide, read along its other axis."""
    grid = [1, 1]
    axis = int(rng.integers(2))
    grid[axis] = int(rng.integers(1, 9))
    return image(rng, sizes, tuple(grid), axis=axis)


def plane(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """An image whose sides differ."""
    return image(rng, sizes, ((2, 5), (4, 3), (1, 4))[int(rng.integers(3))], axis=int(rng.integers(2)))


def transposed(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The image transposed, read along the other axis, its outputs put back."""
    grid = p.options["grid"]
    return in_order(f, p, np.arange(math.prod(grid)).reshape(grid).T.reshape(-1), grid=grid[::-1], axis=1 - p.options["axis"])


def simple(p: Problem) -> Problem:
    """Neighbourhoods without dilation, stride or causality."""
    ones = (1,) * len(p.options["grid"])
    return p.but(dilation=ones, stride=ones, causal=(False,) * len(ones))


def near(rng: np.random.Generator, sizes: Sizes, axes: int | None = None) -> Problem:
    """A problem of neighbourhoods, dilated, strided and causal along some axes half of the time."""
    axes = axes or line_or_plane(rng)
    kernel = tuple(int(n) for n in rng.integers(1, 6 - axes, axes))
    dilation = tuple(int(n) for n in rng.integers(1, 3, axes))
    grid = tuple(n * step + int(rng.integers(0, 4)) for n, step in zip(kernel, dilation, strict=True))
    p = image(rng, sizes, grid, kernel=kernel, dilation=dilation, stride=tuple(int(rng.integers(1, n + 1)) for n in kernel),
              causal=tuple(bool(rng.random() < 0.3) for _ in grid))
    return p if rng.random() < 0.5 else simple(p)


def to_neighbours(q: Array, k: Array, v: Array, *, grid: Grid, kernel: Grid, dilation: Grid, stride: Grid,
                  causal: tuple[bool, ...], scale: float | None = None) -> Any:
    """Attention of all cells with a mask of neighbours."""
    return masked(q, k, v, grid=grid, rule=neighbour(grid, kernel, dilation, stride, causal), scale=scale)


def own_values(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """Every query's own value."""
    return np.repeat(v, q.shape[-3] // k.shape[-3], axis=-3)


def last_cells(q: Array, k: Array, v: Array, *, kernel: Grid, scale: float | None = None, **options: Any) -> Any:
    """Local attention to the last tokens."""
    return definitions.multi_head_local_attention(q, k, v, window=kernel[0], causal=True, scale=scale)


def inner(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The cells further from both ends than half a kernel."""
    half = p.options["kernel"][0] // 2
    return (outputs(p.call(f))[0][..., half : p.q.shape[-2] - half, :],)


def sliding(q: Array, k: Array, v: Array, *, kernel: Grid, scale: float | None = None, **options: Any) -> Any:
    """Attention with a window that becomes smaller at the ends."""
    return definitions.attention(q, k, v, window=(kernel[0] // 2, kernel[0] // 2), scale=scale)


def odd(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A line with an odd kernel."""
    return simple(image(rng, sizes, (int(rng.integers(5, 9)),), kernel=(int(rng.choice([1, 3, 5])),)))


def tiled(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Neighbourhoods whose stride is their kernel, on a grid that it divides."""
    grid, window = tiles(rng, line_or_plane(rng))
    return simple(image(rng, sizes, grid, kernel=window)).but(stride=window)


def shifted_by_none(q: Array, k: Array, v: Array, *, grid: Grid, kernel: Grid, scale: float | None = None, **options: Any) -> Any:
    """Windows of the kernel's size."""
    return definitions.shifted_window_attention(q, k, v, grid=grid, window=kernel, scale=scale)


def residues(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The cells of each residue alone, without dilation, put together again."""
    grid, dilation = p.options["grid"], p.options["dilation"]
    tokens = np.arange(math.prod(grid)).reshape(grid)
    outs, order = [], np.zeros(0, int)
    for start in np.ndindex(dilation):
        part = tokens[tuple(slice(first, None, step) for first, step in zip(start, dilation, strict=True))]
        same = part.reshape(-1)
        outs.append(outputs(turned_image(p, same, grid=part.shape, dilation=1).call(f))[0])
        order = np.concatenate((order, same))
    return (np.concatenate(outs, axis=-2)[..., np.argsort(order), :],)


WHOLE = but(near, lambda p: simple(p).but(kernel=p.options["grid"]))
ALONE = but(near, lambda p: p.but(kernel=1, stride=1))
LAST = but(lambda rng, sizes: near(rng, sizes, 1), lambda p: simple(p).but(causal=True))
NEAREST = neighbour(GRID, (3, 3), (1, 1), (1, 1), (False, False))
ROWS = (
    Row("axial_attention", "A cell sees the line through it along one axis of the grid.", definitions.axial_attention,
        (Paper("Ho et al.", 2019, "1912.12180"), Paper("Wang et al.", 2020, "2003.07853")), "exact",
        "heads i line (d + e), line = the cells of one", lines,
        (agrees("line_by_line", line_by_line, draw=lines, says="The lines one by one give the same."),
         slopes_agree("line_by_line", line_by_line, draw=smooth(lines)),
         agrees("attention_along_lines", along_lines, draw=lines, to="attention", says="It is attention with a mask of shared lines."),
         agrees("attention", all_cells, draw=one_wide, to="attention",
                says="In an image one cell wide it is attention to all cells."),
         Law("a_transposed_image_has_the_other_axis", "An image transposed, along the other axis, gives the transposed output.", plane,
             plain, transposed),
         *general.laws(lines)),
        (MISFIT, NAN, BadInput({"axis": 7}, ValueError, ("axis", "7"))),
        aliases=("axial", "row attention", "column attention", "axial transformer", "axial-deeplab"),
        pattern=cells(GRID, shared_line(1), "rows of a 4 by 4 grid")),
    Row("neighborhood_attention", "A cell sees the nearest cells, as many at a border as anywhere.",
        definitions.neighborhood_attention,
        (Paper("Hassani et al.", 2022, "2204.07143"), Paper("Hassani and Shi", 2022, "2209.15001"),
         Paper("Hassani et al.", 2025, "2504.16922")), "exact", "heads i kernel (d + e), kernel = the cells of one", near,
        (agrees("attention_to_neighbours", to_neighbours, draw=near, to="attention",
                says="It is attention with a mask of neighbours."),
         slopes_agree("attention_to_neighbours", to_neighbours, draw=smooth(near)),
         agrees("attention", all_cells, draw=WHOLE, to="attention", says="A kernel as large as the grid is attention to all cells."),
         agrees("own_values", own_values, draw=ALONE, says="A kernel of 1 reads the cell's own value."),
         agrees("last_cells", last_cells, draw=LAST, to="multi_head_local_attention",
                says="Causal, along a line, it is local attention to the last tokens."),
         agrees("shifted_window_attention", shifted_by_none, draw=tiled, to="shifted_window_attention",
                says="With a stride of the kernel it is windows, not shifted."),
         Law("far_from_borders_it_is_a_window",
             "Along a line, further from both ends than half a kernel, it is attention with a window.", odd, inner,
             lambda f, p: inner(sliding, p)),
         Law("dilation_is_a_neighbourhood_of_each_residue", "Dilated, each residue's cells alone, without dilation, give the same.",
             near, plain, residues),
         general.causal(lambda rng, sizes: near(rng, sizes, 1).but(causal=True)), *general.laws(near)),
        (MISFIT, NAN, BadInput({"kernel": 99}, ValueError, ("kernel", "99")), BadInput({"stride": 99}, ValueError, ("stride", "99")),
         BadInput({"causal": 1}, TypeError, ("causal", "int"))),
        aliases=("na", "nat", "natten", "dinat", "neighbourhood attention", "gna", "generalized neighborhood attention"),
        pattern=cells(GRID, NEAREST, "the 3 by 3 nearest cells of a 4 by 4 grid")),
)
