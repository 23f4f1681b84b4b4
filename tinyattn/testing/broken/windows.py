"""Faults in windows of a grid: borders, shifts, tables, means of blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.oracles.grid import Rule, cells, masked, shared_window, shifts
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array
from tinyattn.ops.windows import to_windows
from tinyattn.testing.broken.twin import twin

SWIN, LSA, GSA = "shifted_window_attention", "locally_grouped_attention", "global_subsampled_attention"


def turned_grid(p: Problem, by: Any) -> Array:
    """Returns the order of the tokens when the grid is rolled by these steps along each axis."""
    grid = p.options["grid"]
    return np.roll(np.arange(math.prod(grid)).reshape(grid), by, axis=tuple(range(len(grid)))).reshape(-1)


def steps(p: Problem) -> Any:
    """Returns how far the borders of the windows are shifted along each axis."""
    return np.array(shifts(p.options["grid"], p.options["window"], p.options["shift"]))


def seen_by(p: Problem, rule: Rule) -> Any:
    """Returns attention of the problem's cells to those that a rule shows."""
    return masked(p.q, p.k, p.v, grid=p.options["grid"], rule=rule, scale=p.options.get("scale"))


@twin("equals_ragged_windows", "gradients_equal_ragged_windows", "equals_attention_within_windows", row=SWIN)
def wrapped_cells_are_neighbours(f: Mechanism, p: Problem) -> Any:
    """The grid is rolled and cut into windows, and cells from opposite sides see each other."""
    order = turned_grid(p, -steps(p))
    return p.tokens(order).but(shift=0).call(f)[..., np.argsort(order), :]


@twin("windows_do_not_see_each_other", row=SWIN)
def hidden_by_minus_a_hundred(f: Mechanism, p: Problem) -> Any:
    """Cells from opposite sides get -100 added to their scores, and are seen again if a score is far larger."""
    if p.options.get("bias_table") is not None:
        return p.call(f)
    grid, window = p.options["grid"], p.options["window"]
    by, length = steps(p), math.prod(grid)
    place = np.stack(np.unravel_index(np.arange(length), grid), axis=-1)
    turned = (place - by) % grid
    together = np.all(turned[:, None] // window == turned // window, axis=-1)
    region = cells(grid, shared_window(grid, window, tuple(by))).dense(length, length)
    return definitions.attention(p.q, p.k, p.v, mask=together, scale=p.options.get("scale"),
                                 bias=np.where(region, 0.0, -100.0).astype(p.q.dtype))


@twin("equals_ragged_windows", "equals_attention_within_windows", row=SWIN)
def turned_back_the_wrong_way(f: Mechanism, p: Problem) -> Any:
    """A grid that was rolled by -shift is rolled by -shift again."""
    return p.call(f)[..., turned_grid(p, -2 * steps(p)), :]


@twin("equals_attention", row=SWIN)
def one_window_is_shifted_too(f: Mechanism, p: Problem) -> Any:
    """A shift along an axis that one window covers hides its cells from each other."""
    window, shift = p.options["window"], p.options["shift"]
    if p.options.get("bias_table") is not None:
        return p.call(f)
    return seen_by(p, lambda axis, a, b: (a - shift[axis]) // window[axis] == (b - shift[axis]) // window[axis])


@twin("equals_locally_grouped_attention", "equals_local_blocks", row=SWIN)
def always_shifted(f: Mechanism, p: Problem) -> Any:
    """Every layer shifts by half a window, also those that should not."""
    return p.but(shift=tuple(w // 2 for w in p.options["window"])).call(f)


@twin("equals_shifted_sparse_attention", "equals_ragged_windows", row=SWIN)
def shifted_by_one_more(f: Mechanism, p: Problem) -> Any:
    """The shift is one cell too large."""
    return p.but(shift=tuple(s + 1 for s in p.options["shift"])).call(f)


@twin("a_whole_window_of_shift_has_no_effect", row=SWIN)
def a_long_shift_is_cut(f: Mechanism, p: Problem) -> Any:
    """A shift beyond the window is cut to the window less one."""
    return p.but(shift=tuple(min(s, w - 1) for s, w in zip(p.options["shift"], p.options["window"], strict=True))).call(f)


@twin("equals_ragged_windows", "gradients_equal_ragged_windows", row=SWIN)
def relative_index_transposed(f: Mechanism, p: Problem) -> Any:
    """A pair reads the table row of key minus query instead of query minus key."""
    table = p.options.get("bias_table")
    return p.call(f) if table is None else p.but(bias_table=table[::-1]).call(f)


@twin("equals_ragged_windows", row=SWIN)
def relative_index_of_columns_first(f: Mechanism, p: Problem) -> Any:
    """The rows of the table are numbered by columns first."""
    table = p.options.get("bias_table")
    if table is None or len(p.options["grid"]) < 2:
        return p.call(f)
    sides = [2 * side - 1 for side in p.options["window"]]
    order = np.arange(len(table)).reshape(sides).T.reshape(-1)
    return p.but(bias_table=table[order]).call(f)


@twin("a_table_of_zeros_has_no_effect", row=SWIN)
def no_scale_beside_a_table(f: Mechanism, p: Problem) -> Any:
    """Scores with a table are not scaled, as in T5."""
    return (p if p.options.get("bias_table") is None else p.but(scale=1.0)).call(f)


@twin("equals_ragged_windows", "gradients_equal_ragged_windows", row=LSA)
def windows_of_the_text(f: Mechanism, p: Problem) -> Any:
    """A window is a run of consecutive tokens, whatever the grid is."""
    return p.but(grid=p.q.shape[-2:-1], window=math.prod(p.options["window"])).call(f)


@twin("equals_ragged_windows", row=LSA)
def equal_places_of_all_windows(f: Mechanism, p: Problem) -> Any:
    """A cell sees the cells that stand at its own place in every window, as in the other half of MaxViT's blocks."""
    return seen_by(p, lambda axis, a, b: a % p.options["window"][axis] == b % p.options["window"][axis])


@twin("equals_attention", row=LSA)
def causal_in_the_text(f: Mechanism, p: Problem) -> Any:
    """A decoder's mask stays on: cells see only those before them in row-major order."""
    grid, window = p.options["grid"], p.options["window"]
    together = cells(grid, shared_window(grid, window, (0,) * len(grid)))
    return definitions.attention(p.q, p.k, p.v, mask=together, causal=True, scale=p.options.get("scale"))


@twin("equals_linformer_attention", "gradients_equal_linformer_attention", row=GSA)
def one_cell_for_its_block(f: Mechanism, p: Problem) -> Any:
    """The first cell of a block is used instead of the mean."""
    grid, ratio = p.options["grid"], p.options["ratio"]
    first = np.arange(math.prod(grid)).reshape(grid)[tuple(slice(None, None, r) for r in ratio)]
    some = first.reshape(-1)
    return p.but(k=p.k[..., some, :], v=p.v[..., some, :], grid=first.shape, ratio=1).call(f)


@twin("equals_linformer_attention", "gradients_equal_linformer_attention", row=GSA)
def largest_of_a_block(f: Mechanism, p: Problem) -> Any:
    """Blocks are pooled by their largest number in each channel instead of their mean."""
    grid, ratio = p.options["grid"], p.options["ratio"]
    k, v = (np.swapaxes(np.max(to_windows(x, grid, ratio), axis=-2), -3, -2) for x in (p.k, p.v))
    return definitions.attention(p.q, k, v, scale=p.options.get("scale"))


@twin("equals_attention", "equals_mean_of_all", row=GSA)
def padded_cells_are_keys(f: Mechanism, p: Problem) -> Any:
    """The grid is padded by one block of zeros, which is not hidden."""
    grid, ratio = p.options["grid"], p.options["ratio"]
    more = ((grid[0] + ratio[0]), *grid[1:])
    pad = [(0, 0)] * (p.k.ndim - 2) + [(0, math.prod(more) - math.prod(grid)), (0, 0)]
    return p.but(k=np.pad(p.k, pad), v=np.pad(p.v, pad), grid=more).call(f)
