"""Attention within windows, some windows at a time: only these are copied, out of the order of the text and back into it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.rules.tiles import compiled_rule, flat
from tinyattn.kernels.softmax.dot_product import slopes_in_rule
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.rows import each_part, rows_put, rows_taken
from tinyattn.kernels.tiles.seen import seen_of, sides_of
from tinyattn.kernels.tiles.storage import distances, sizes_of
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import (
    Window,
    check_bias,
    check_causal,
    check_mask,
    check_scale,
    check_sinks,
    check_softcap,
    visible_keys,
)
from tinyattn.ops.score_rule import ScoreRule
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, roll_grid, to_windows

# Numbers of the queries that are copied at once: the eight arrays of a backward then take 4 MiB in float32. Four times as many
# make the lines of a grid of 128 x 256 cells half as slow again, forward.
TOGETHER = 1 << 17


def cells_of(grid: Grid, window: Grid, shift: Grid) -> Array:
    """Returns which cells are in which window, (windows, cells of a window), of a grid that was rolled back by `shift`.

    >>> cells_of((4,), (2,), (1,))
    array([[1, 2],
           [3, 0]])
    """
    places = np.arange(math.prod(grid))[None, :, None]
    cells: Array = to_windows(roll_grid(places, grid, tuple(-s for s in shift)), grid, window)[:, 0, :, 0]
    return cells


def attention_by_windows(q: Array, k: Array, v: Array, cells: Array, *, mask: Array | Pattern | None = None,
                         bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                         scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention in which the cells of a window see each other; options are those of attention on all windows."""
    full = (*q.shape[:-3], len(cells), q.shape[-3], cells.shape[-1], cells.shape[-1])
    mask, (left, right) = check_mask(mask, full), sides_of(window)
    right = 0 if check_causal(causal) else right
    scale, softcap = check_scale(scale, q.shape[-1]), check_softcap(softcap)
    bias = check_bias(bias, full, q.dtype, lambda: visible_keys(mask, causal, window, full))
    sinks = check_sinks(sinks, full[-3], q.dtype)
    distance, rule = None, None
    if isinstance(bias, Bias):
        bias, rule = slopes_in_rule(bias, None, full, q.dtype)
    if isinstance(bias, Bias):
        distance, bias = distances(bias, full[-3], full[-2], full[-1], q.dtype), None
    learned = any(x is not None and not isinstance(x, np.ndarray) for x in (bias, distance))
    options = exact.Options(mask, left, right, scale, softcap, learned)
    return windowed(q, k, v, bias, distance, sinks, None if rule is None else flat(rule, q.dtype), Windows(options, rule, cells))


class Windows(NamedTuple):
    """What has no gradient: the options, a rule on scores, and the cells (windows, cells of a window)."""

    options: exact.Options
    rule: ScoreRule | None
    cells: Array


def all_at_once(q: Array, k: Array, v: Array, bias: Array | None, distance: Array | None, sinks: Array | None, values: Array | None,
                windows: Windows) -> Array:
    """Returns attention within windows, all of which are cut out at once."""
    options, rule, cells = windows
    q, k, v = (np.swapaxes(x[..., cells, :], -4, -3) for x in (q, k, v))
    full = (*q.shape[:-1], cells.shape[-1])
    options = options._replace(rule=None if rule is None else compiled_rule(rule, full, q.dtype))
    out: Array = np.swapaxes(exact.attention_with_lse(q, k, v, bias, distance, sinks, options, values)[0], -4, -3)
    return out.reshape(*out.shape[:-3], cells.size, out.shape[-1])[..., np.argsort(cells, axis=None), :]


class Saved(NamedTuple):
    """What the backward reads: arrays in the order of the text, and each row's largest score and sum in that of the windows."""

    windows: Windows
    arrays: tuple[Array, Array, Array]
    beside: tuple[Array | None, ...]
    out: Array
    tops: Array
    totals: Array


@once
@primitive
def windowed(q: Array, k: Array, v: Array, bias: Array | None, distance: Array | None, sinks: Array | None, values: Array | None,
             windows: Windows) -> tuple[Array, Saved]:
    """Returns attention within windows, and what the backward reads, which cuts the windows out once more."""
    out = pages.empty((*q.shape[:-1], v.shape[-1]), q.dtype)
    rows = (*q.shape[:-3], len(windows.cells), q.shape[-3], windows.cells.shape[-1])
    arrays = np.ascontiguousarray(q), np.ascontiguousarray(k), np.ascontiguousarray(v)
    saved = Saved(windows, arrays, (bias, distance, sinks, values), out, np.empty(rows, q.dtype), np.empty(rows))

    def solve(part: slice) -> None:
        of_part = part_of(saved, part)
        found, _, tops, totals = exact.tiled(of_part.arrays, of_part.bias, distance, sinks, of_part.options, of_part.seen,
                                             full_of(of_part), of_part.sizes, values)
        put(out, windows.cells[part], found)
        saved.tops[..., part, :, :], saved.totals[..., part, :, :] = tops, totals

    over_parts(solve, saved)
    return out, saved


@windowed.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array | None]:
    cells, d_out = saved.windows.cells, np.ascontiguousarray(d_out)
    made: dict[str, Any] = {name: pages.empty(x.shape, x.dtype) for name, x in zip("qkv", saved.arrays, strict=True)}
    bias = saved.beside[0]
    by_window = bias is not None and bias.ndim > 3 and bias.shape[-4] > 1
    sums: dict[int, dict[str, Any]] = {}

    def pull(part: slice) -> None:
        own = part_of(saved, part)
        own = own._replace(out=cut(saved.out, cells[part]), tops=np.ascontiguousarray(saved.tops[..., part, :, :]),
                           totals=np.ascontiguousarray(saved.totals[..., part, :, :]))
        found: dict[str, Any] = exact.pulled((cut(d_out, cells[part]), np.zeros_like(own.tops)), own, whole=True)
        for name, gradient in made.items():
            put(gradient, cells[part], found.pop(name))
        sums[part.start] = found

    over_parts(pull, saved)
    in_order = [sums[start] for start in sorted(sums)]
    for name in in_order[0]:
        found = [of_part[name] for of_part in in_order]
        made[name] = np.concatenate(found, axis=-4) if name == "bias" and by_window else sum(found[1:], found[0])
    return made


def part_of(saved: Saved, part: slice) -> exact.Saved:
    """Returns some windows as the exact kernel reads them, without results."""
    (options, rule, cells), (bias, distance, sinks, values) = saved.windows, saved.beside
    q, k, v = (cut(x, cells[part]) for x in saved.arrays)
    full, sizes = (*q.shape[:-1], k.shape[-2]), sizes_of(q, k, v)
    options = options._replace(mask=of_windows(options.mask, part),
                               rule=None if rule is None else compiled_rule(rule, full, q.dtype))
    seen = seen_of(options.mask, options.left, options.right, full, sizes)
    arrays = exact.blank_hidden(q, k, v, options, full, seen)
    return exact.Saved(options, sizes, seen, arrays, of_windows(bias, part), distance, sinks, q, None, None, values)


def full_of(of_part: exact.Saved) -> tuple[int, ...]:
    """Returns the shape of the scores of some windows."""
    q, k, _ = of_part.arrays
    return (*q.shape[:-1], k.shape[-2])


def of_windows(x: Any, part: slice) -> Any:
    """Returns some windows of what broadcasts to (..., windows, heads, cells, cells)."""
    return x[..., part, :, :, :] if isinstance(x, np.ndarray) and x.ndim > 3 and x.shape[-4] > 1 else x


def over_parts(task: Callable[[slice], None], saved: Saved) -> None:
    """Calls the task for all parts of the windows, over threads; how they are cut depends on shapes alone."""
    mask, count, q = saved.windows.options.mask, len(saved.windows.cells), saved.arrays[0]
    # A pattern of several texts says of all windows at once who sees whom, and cannot be cut.
    whole = isinstance(mask, Pattern) and mask.visible(np.arange(1), np.arange(1)).ndim > 3
    step = count if whole else max(1, TOGETHER * count // max(1, q.size))
    parts = [slice(start, min(start + step, count)) for start in range(0, count, max(1, step))]
    each_part(task, parts, q.size)


def rows_at(x: Array, cells: Array) -> Array:
    """Returns where the cells of some windows stand among the rows of x (..., heads, length, dim): (..., windows, heads, cells)."""
    heads = np.arange(math.prod(x.shape[:-2])).reshape(*x.shape[:-3], 1, x.shape[-3], 1)
    places: Array = heads * x.shape[-2] + cells[:, None, :]
    return places


def cut(x: Array, cells: Array) -> Array:
    """Returns some windows of x (..., heads, length, dim), contiguous: (..., windows, heads, cells, dim)."""
    return rows_taken(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), rows_at(x, cells))


def put(x: Array, cells: Array, part: Array) -> None:
    """Writes some windows into x, which is contiguous, where `cut` takes them from."""
    rows_put(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), rows_at(x, cells), part)
