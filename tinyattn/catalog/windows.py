"""Rows of windows of a grid: shifted (Swin), and alone or beside means of blocks (Twins)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.catalog.row import BadInput, Paper, Row
from tinyattn.laws import general
from tinyattn.laws.forms import agrees, but, slopes_agree
from tinyattn.laws.law import Law, outputs
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.laws.spatial import (
    by_parts,
    cells,
    image,
    line_or_plane,
    masked,
    ragged,
    shared_window,
    smooth,
    table_rows,
    tiles,
)
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid

LIU, CHU = Paper("Liu et al.", 2021, "2103.14030"), Paper("Chu et al.", 2021, "2104.13840")
MISFIT = BadInput({"grid": (97,)}, ValueError, ("grid", "(97,)"))
NAN = BadInput({"scale": float("nan")}, ValueError, ("scale", "nan"))
GRID, TWO = (4, 4), (2, 2)


def shifted(rng: np.random.Generator, sizes: Sizes, axes: int | None = None, least: int = 1) -> Problem:
    """A problem of windows of a line or a plane, their borders shifted, with a table half of the time."""
    grid, window = tiles(rng, axes or line_or_plane(rng), least=least)
    p = image(rng, sizes, grid, window=window, shift=tuple(int(n) for n in rng.integers(0, 4, len(grid))))
    return with_table(rng, p) if rng.random() < 0.5 else p


def with_table(rng: np.random.Generator, p: Problem) -> Problem:
    """Returns the problem with a bias table for its windows."""
    rows = math.prod(2 * side - 1 for side in p.options["window"])
    return p.but(bias_table=rng.standard_normal((rows, p.q.shape[-3])).astype(p.q.dtype))


def untabled(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """The same without a table."""
    return shifted(rng, sizes).but(bias_table=None)


def tabled(part: Array, grid: Grid, window: Grid, table: Array | None) -> Array | None:
    """Returns (heads, n, n), what a table adds to the scores of some cells."""
    return None if table is None else np.moveaxis(table[table_rows(part, grid, window)], -1, 0)


def ragged_windows(q: Array, k: Array, v: Array, *, grid: Grid, window: Grid, shift: Grid = (0, 0, 0),
                   bias_table: Array | None = None, scale: float | None = None) -> Array:
    """The windows between the shifted borders, one by one."""
    return by_parts(q, k, v, ragged(grid, window, shift[: len(grid)]), scale=scale,
                    bias=lambda part: tabled(part, grid, window, bias_table))


def within_windows(q: Array, k: Array, v: Array, *, grid: Grid, window: Grid, shift: Grid, bias_table: None = None,
                   scale: float | None = None) -> Any:
    """Attention of all cells with a mask of shared windows."""
    return masked(q, k, v, grid=grid, rule=shared_window(grid, window, shift), scale=scale)


def all_cells(q: Array, k: Array, v: Array, *, grid: Grid, bias_table: Array | None = None, scale: float | None = None,
              **options: Any) -> Any:
    """Attention of all cells."""
    return definitions.attention(q, k, v, scale=scale, bias=tabled(np.arange(math.prod(grid)), grid, grid, bias_table))


def covering(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A window that covers the grid, or is larger, with a shift that then is none."""
    p = shifted(rng, sizes).but(bias_table=None)
    grid = p.options["grid"]
    if rng.random() < 0.3:
        return p.but(window=tuple(n + 1 for n in grid))
    p = p.but(window=grid)
    return with_table(rng, p) if rng.random() < 0.5 else p


def windows_alone(q: Array, k: Array, v: Array, *, grid: Grid, window: Grid, shift: Grid, bias_table: None = None,
                  scale: float | None = None) -> Any:
    """Locally grouped attention."""
    return definitions.locally_grouped_attention(q, k, v, grid=grid, window=window, scale=scale)


def blocks(q: Array, k: Array, v: Array, *, grid: Grid, window: Grid, shift: Grid, bias_table: None = None,
           scale: float | None = None) -> Any:
    """Local attention by blocks of the text."""
    return definitions.multi_head_local_attention(q, k, v, window=window[0], mode="block", causal=False, scale=scale)


def half_shifted(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A line of two windows at least, of an even side, shifted by half of it."""
    half, count = (int(n) for n in rng.integers((1, 2), (3, 4)))
    return image(rng, sizes, (2 * half * count,), window=(2 * half,), shift=(half,))


def shifted_heads(q: Array, k: Array, v: Array, *, grid: Grid, window: Grid, shift: Grid, scale: float | None = None) -> Any:
    """Shifted sparse attention of twice the heads, of which the second half is shifted."""
    twice = (np.concatenate((x, x), axis=-3) for x in (q, k, v))
    out = definitions.shifted_sparse_attention(*twice, group=window[0], causal=False, scale=scale)
    return out[..., q.shape[-3] :, :, :]


def zero_table(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The same with a table of zeros."""
    rows = math.prod(2 * side - 1 for side in p.options["window"])
    return plain(f, p.but(bias_table=np.zeros((rows, p.q.shape[-3]), p.q.dtype)))


def first_window(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The cells of the first window."""
    part = ragged(*(p.options[name] for name in ("grid", "window", "shift")))[0]
    return (outputs(p.call(f))[0][..., part, :],)


def others_changed(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The same where the cells of all other windows have far longer keys and other values."""
    own = np.zeros((p.k.shape[-2], 1), bool)
    own[ragged(*(p.options[name] for name in ("grid", "window", "shift")))[0]] = True
    one = p.q.dtype.type(1)
    return first_window(f, p.but(k=np.where(own, p.k, 30 * one * p.k), v=np.where(own, p.v, p.v + one)))


def grouped(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A problem of windows."""
    grid, window = tiles(rng, line_or_plane(rng))
    return image(rng, sizes, grid, window=window)


def pooled(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A problem of blocks and their means, of all cells' queries or of some."""
    grid, ratio = tiles(rng, line_or_plane(rng))
    p = image(rng, sizes, grid, ratio=ratio)
    return p.but(q=p.q[..., : int(rng.integers(1, p.q.shape[-2] + 1)), :])


def averages(q: Array, k: Array, v: Array, *, grid: Grid, ratio: Grid, scale: float | None = None) -> Any:
    """Linformer with rows that average blocks."""
    rows = np.stack([np.isin(np.arange(math.prod(grid)), part) / len(part) for part in ragged(grid, ratio, (0,) * len(grid))])
    project = rows.astype(q.dtype)
    return definitions.linformer_attention(q, k, v, project_k=project, project_v=project, scale=scale)


def mean_of_all(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """The mean of all values, for every query."""
    mean = np.repeat(np.mean(v, axis=-2, keepdims=True), q.shape[-3] // k.shape[-3], axis=-3)
    return np.repeat(mean, q.shape[-2], axis=-2)


UNSHIFTED = but(untabled, lambda p: p.but(shift=(0,) * len(p.options["grid"])))
LINE = but(lambda rng, sizes: shifted(rng, sizes, 1), lambda p: p.but(shift=(0,), bias_table=None))
ROWS = (
    Row("shifted_window_attention", "A cell sees its window of the grid, whose borders stand shifted in every second layer.",
        definitions.shifted_window_attention, (LIU,), "exact", "heads i window (d + e), window = the cells of one", shifted,
        (agrees("ragged_windows", ragged_windows, draw=shifted,
                says="The windows between the shifted borders, smaller at both ends, one by one, give the same."),
         slopes_agree("ragged_windows", ragged_windows, draw=smooth(shifted)),
         agrees("attention_within_windows", within_windows, draw=untabled, to="attention",
                says="It is attention with a mask of shared windows."),
         agrees("attention", all_cells, draw=covering, to="attention",
                says="A window as large as the grid is attention to all cells, whatever the shift."),
         agrees("locally_grouped_attention", windows_alone, draw=UNSHIFTED, to="locally_grouped_attention",
                says="Not shifted, it is locally grouped attention."),
         agrees("local_blocks", blocks, draw=LINE, to="multi_head_local_attention",
                says="Not shifted, along a line, it is local attention by blocks."),
         agrees("shifted_sparse_attention", shifted_heads, draw=half_shifted, to="shifted_sparse_attention",
                says="Along a line, shifted by half a window, it is what the shifted heads of shifted sparse attention give."),
         Law("a_table_of_zeros_is_none", "A bias table of zeros changes nothing.", untabled, plain, zero_table),
         Law("a_whole_window_of_shift_is_none", "Borders shifted by a whole window more stand where they stood.", shifted, plain,
             lambda f, p: plain(f, p.but(shift=tuple(s + w for s, w in zip(p.options["shift"], p.options["window"], strict=True))))),
         Law("windows_do_not_see_each_other", "Other cells in other windows leave every bit of a window as it was.", untabled,
             first_window, others_changed, exact=True),
         *general.laws(untabled)),
        (MISFIT, NAN, BadInput({"shift": -1}, ValueError, ("shift", "-1")),
         BadInput({"bias_table": np.ones((2, 2))}, ValueError, ("bias_table", "(2, 2)"))),
        aliases=("swin", "swin transformer", "swin attention", "shifted windows", "sw-msa", "w-msa", "s2-swin", "s2 shifted window",
                 "window attention"),
        pattern=cells(GRID, shared_window(GRID, TWO, (1, 1)), "windows of 2 by 2 cells of a 4 by 4 grid, shifted by 1")),
    Row("locally_grouped_attention", "A cell sees its window of the grid.", definitions.locally_grouped_attention, (CHU,), "exact",
        "heads i window (d + e), window = the cells of one", grouped,
        (agrees("ragged_windows", ragged_windows, draw=grouped, says="The windows one by one give the same."),
         slopes_agree("ragged_windows", ragged_windows, draw=smooth(grouped)),
         agrees("attention", all_cells, draw=but(grouped, lambda p: p.but(window=p.options["grid"])), to="attention",
                says="A window as large as the grid is attention to all cells."),
         *general.laws(grouped)),
        (MISFIT, NAN, BadInput({"window": 0}, ValueError, ("window", "0"))), aliases=("lsa", "twins", "twins-svt", "twins lsa"),
        pattern=cells(GRID, shared_window(GRID, TWO, (0, 0)), "windows of 2 by 2 cells of a 4 by 4 grid")),
    Row("global_subsampled_attention", "Every cell sees one mean for each block of the grid.", definitions.global_subsampled_attention,
        (CHU,), "approximate", "heads i (j / block) (d + e), block = the cells of one", pooled,
        (agrees("linformer_attention", averages, draw=pooled, to="linformer_attention",
                says="It is Linformer whose projections average blocks."),
         slopes_agree("linformer_attention", averages, draw=smooth(pooled)),
         agrees("attention", all_cells, draw=but(pooled, lambda p: p.but(ratio=(1,) * len(p.options["grid"]))), to="attention",
                says="Blocks of one cell are attention to all cells."),
         agrees("mean_of_all", mean_of_all, draw=but(pooled, lambda p: p.but(ratio=p.options["grid"])),
                says="One block of the whole grid gives every query the mean of all values."),
         *general.laws(pooled)),
        (MISFIT, NAN, BadInput({"ratio": 0}, ValueError, ("ratio", "0"))),
        aliases=("gsa", "twins gsa", "spatial reduction attention", "sra", "pvt")),
)
