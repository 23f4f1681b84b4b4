"""Wrong on a grid: borders, shifts, tables, axes, neighbours, means, gates and turns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn import definitions, ops
from tinyattn.laws.draw.grid import reordered_image
from tinyattn.laws.oracles.grid import Rule, cells, masked, shared_window, shifts
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array
from tinyattn.testing.broken.twin import twin

SWIN, LSA, GSA = "shifted_window_attention", "locally_grouped_attention", "global_subsampled_attention"
AXIAL, NEAR, GATE, TURN = "axial_attention", "neighborhood_attention", "spatial_gate", "rotary_2d"


def turned_grid(p: Problem, by: Any) -> Array:
    """Returns the tokens' order when the grid is turned by some steps along each axis."""
    grid = p.options["grid"]
    return np.roll(np.arange(math.prod(grid)).reshape(grid), by, axis=tuple(range(len(grid)))).reshape(-1)


def steps(p: Problem) -> Any:
    """Returns how far the windows' borders stand from those of no shift, along each axis."""
    return np.array(shifts(p.options["grid"], p.options["window"], p.options["shift"]))


def scaled(p: Problem) -> float:
    """Returns the factor of a problem's scores."""
    scale = p.options.get("scale")
    return float(p.q.shape[-1] ** -0.5 if scale is None else scale)


def seen_by(p: Problem, rule: Rule) -> Any:
    """Returns attention of the problem's cells to those that a rule shows."""
    return masked(p.q, p.k, p.v, grid=p.options["grid"], rule=rule, scale=p.options.get("scale"))


@twin("equals_ragged_windows", "gradients_equal_ragged_windows", "equals_attention_within_windows", row=SWIN)
def wrapped_cells_are_neighbours(f: Mechanism, p: Problem) -> Any:
    """The grid is turned and cut, and nothing hides the cells that came round from the other side."""
    order = turned_grid(p, -steps(p))
    return reordered_image(p, order, shift=0).call(f)[..., np.argsort(order), :]


@twin("windows_do_not_see_each_other", row=SWIN)
def hidden_by_minus_a_hundred(f: Mechanism, p: Problem) -> Any:
    """Cells that came round get -100 added to their scores: a far larger score shows them again."""
    if p.options.get("bias_table") is not None:
        return p.call(f)
    grid, window = p.options["grid"], p.options["window"]
    by, length = steps(p), math.prod(grid)
    place = np.stack(np.unravel_index(np.arange(length), grid), axis=-1)
    turned = (place - by) % grid
    together = np.all(turned[:, None] // window == turned // window, axis=-1)
    region = cells(grid, shared_window(grid, window, tuple(by))).dense(length, length)
    return definitions.attention(p.q, p.k, p.v, mask=together, scale=scaled(p), bias=np.where(region, 0.0, -100.0).astype(p.q.dtype))


@twin("equals_ragged_windows", "equals_attention_within_windows", row=SWIN)
def turned_back_the_wrong_way(f: Mechanism, p: Problem) -> Any:
    """What was turned by -shift is turned by -shift again."""
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
    """The shift is one cell too many."""
    return p.but(shift=tuple(s + 1 for s in p.options["shift"])).call(f)


@twin("a_whole_window_of_shift_is_none", row=SWIN)
def a_long_shift_is_cut(f: Mechanism, p: Problem) -> Any:
    """A shift beyond the window becomes the window less one."""
    return p.but(shift=tuple(min(s, w - 1) for s, w in zip(p.options["shift"], p.options["window"], strict=True))).call(f)


@twin("equals_ragged_windows", "gradients_equal_ragged_windows", row=SWIN)
def relative_index_transposed(f: Mechanism, p: Problem) -> Any:
    """A pair reads the row of key minus query instead of query minus key."""
    table = p.options.get("bias_table")
    return p.call(f) if table is None else p.but(bias_table=table[::-1]).call(f)


@twin("equals_ragged_windows", row=SWIN)
def relative_index_of_columns_first(f: Mechanism, p: Problem) -> Any:
    """The table's rows are numbered by columns, then rows."""
    table = p.options.get("bias_table")
    if table is None or len(p.options["grid"]) < 2:
        return p.call(f)
    sides = [2 * side - 1 for side in p.options["window"]]
    order = np.arange(len(table)).reshape(sides).T.reshape(-1)
    return p.but(bias_table=table[order]).call(f)


@twin("a_table_of_zeros_is_none", row=SWIN)
def no_scale_beside_a_table(f: Mechanism, p: Problem) -> Any:
    """Scores with a table are not scaled, as in T5."""
    return (p if p.options.get("bias_table") is None else p.but(scale=1.0)).call(f)


@twin("equals_ragged_windows", "gradients_equal_ragged_windows", row=LSA)
def windows_of_the_text(f: Mechanism, p: Problem) -> Any:
    """A window is as many tokens in a row, whatever the grid."""
    return p.but(grid=p.q.shape[-2:-1], window=math.prod(p.options["window"])).call(f)


@twin("equals_attention", row=LSA)
def causal_in_the_text(f: Mechanism, p: Problem) -> Any:
    """A decoder's mask stays on: cells see those before them in row-major order."""
    grid, window = p.options["grid"], p.options["window"]
    together = cells(grid, shared_window(grid, window, (0,) * len(grid)))
    return definitions.attention(p.q, p.k, p.v, mask=together, causal=True, scale=scaled(p))


@twin("equals_linformer_attention", "gradients_equal_linformer_attention", row=GSA)
def one_cell_for_its_block(f: Mechanism, p: Problem) -> Any:
    """A block's first cell stands for it instead of its mean: a stride without a convolution."""
    grid, ratio = p.options["grid"], p.options["ratio"]
    first = np.arange(math.prod(grid)).reshape(grid)[tuple(slice(None, None, r) for r in ratio)]
    some = first.reshape(-1)
    return p.but(k=p.k[..., some, :], v=p.v[..., some, :], grid=first.shape, ratio=1).call(f)


@twin("equals_attention", "equals_mean_of_all", row=GSA)
def padded_cells_are_keys(f: Mechanism, p: Problem) -> Any:
    """The grid is padded by one block of zeros, which nothing hides."""
    grid, ratio = p.options["grid"], p.options["ratio"]
    more = ((grid[0] + ratio[0]), *grid[1:])
    pad = [(0, 0)] * (p.k.ndim - 2) + [(0, math.prod(more) - math.prod(grid)), (0, 0)]
    return p.but(k=np.pad(p.k, pad), v=np.pad(p.v, pad), grid=more).call(f)


@twin("equals_line_by_line", "gradients_equal_line_by_line", "equals_attention_along_lines", row=AXIAL)
def along_the_next_axis(f: Mechanism, p: Problem) -> Any:
    """Axis 0 is taken for the horizontal one, as in (x, y)."""
    return p.but(axis=(p.options["axis"] + 1) % len(p.options["grid"])).call(f)


@twin("a_transposed_image_has_the_other_axis", row=AXIAL)
def columns_first(f: Mechanism, p: Problem) -> Any:
    """Tokens are read as if they stood column by column."""
    return p.but(grid=p.options["grid"][::-1]).call(f)


@twin("equals_attention", row=AXIAL)
def causal_along_the_line(f: Mechanism, p: Problem) -> Any:
    """Every line is causal, as in the autoregressive half of the paper."""
    return p.but(causal=True).call(f)


@twin("equals_attention_to_neighbours", "gradients_equal_attention_to_neighbours", row=NEAR)
def fewer_at_the_border(f: Mechanism, p: Problem) -> Any:
    """The window becomes smaller at a border instead of moving inward."""
    kernel, dilation, causal = (p.options[name] for name in ("kernel", "dilation", "causal"))
    if any(causal) or max(p.options["stride"]) > 1 or max(dilation) > 1:
        return p.call(f)
    return seen_by(p, lambda axis, a, b: (b - a >= -(kernel[axis] // 2)) & (b - a <= (kernel[axis] - 1) // 2))


@twin("equals_attention_to_neighbours", row=NEAR)
def an_even_kernel_reaches_right(f: Mechanism, p: Problem) -> Any:
    """An even kernel has its odd one out to the right."""
    if any(p.options["causal"]) or max(p.options["stride"]) > 1 or max(p.options["dilation"]) > 1:
        return p.call(f)
    order = np.arange(p.q.shape[-2])[::-1]
    return reordered_image(p, order).call(f)[..., order, :]


@twin("equals_attention", "equals_own_values", row=NEAR)
def without_its_centre(f: Mechanism, p: Problem) -> Any:
    """A cell sees its neighbours and not itself."""
    options = {**p.options, "stride": (1,) * len(p.options["grid"])}
    own = definitions.attention_weights(p.q, p.k, mask=np.eye(p.q.shape[-2], dtype=bool))
    values = np.repeat(p.v, p.q.shape[-3] // p.k.shape[-3], axis=-3)
    return p.but(**options).call(f) - 0.5 * own @ values


@twin("equals_last_cells", "far_from_borders_it_is_a_window", row=NEAR)
def kernel_less_one(f: Mechanism, p: Problem) -> Any:
    """The kernel counts the cells besides one's own."""
    fewer = tuple(max(n - 1, 1) for n in np.broadcast_to(p.options["kernel"], len(p.options["grid"])))
    return p.but(kernel=tuple(int(n) for n in fewer), stride=1).call(f)


@twin("later_tokens_change_nothing_earlier", "equals_last_cells", row=NEAR)
def causal_moves_inward(f: Mechanism, p: Problem) -> Any:
    """A causal window moves inward at the beginning, over cells that are still to come."""
    kernel = np.broadcast_to(p.options["kernel"], len(p.options["grid"]))
    if len(kernel) > 1 or max(np.broadcast_to(p.options["dilation"], 1)) > 1 or not np.all(p.options["causal"]):
        return p.call(f)
    first = [np.maximum(np.arange(n) - size + 1, 0) for n, size in zip(p.options["grid"], kernel, strict=True)]
    return seen_by(p, lambda axis, a, b: (b >= first[axis][a]) & (b < first[axis][a] + kernel[axis]))


@twin("equals_shifted_window_attention", row=NEAR)
def a_run_is_led_by_its_first(f: Mechanism, p: Problem) -> Any:
    """The cells of a run share the window of its first cell, not of its middle one."""
    grid, kernel, stride = (p.options[name] for name in ("grid", "kernel", "stride"))
    if np.any(p.options["causal"]) or np.max(p.options["dilation"]) > 1:
        return p.call(f)
    run, size = np.broadcast_to(stride, len(grid)), np.broadcast_to(kernel, len(grid))
    first = [np.clip(np.arange(n) // r * r - w // 2, 0, n - w) for n, r, w in zip(grid, run, size, strict=True)]
    return seen_by(p, lambda axis, a, b: (b >= first[axis][a]) & (b < first[axis][a] + size[axis]))


@twin("dilation_is_a_neighbourhood_of_each_residue", row=NEAR)
def a_dilated_window_leaves_its_residue(f: Mechanism, p: Problem) -> Any:
    """At a border a dilated window moves inward by single cells."""
    grid, kernel = p.options["grid"], p.options["kernel"]
    step = np.broadcast_to(p.options["dilation"], len(grid))
    if any(p.options["causal"]) or max(p.options["stride"]) > 1:
        return p.call(f)
    first = [np.clip(np.arange(n) - w // 2 * s, 0, n - 1 - (w - 1) * s) for n, w, s in zip(grid, kernel, step, strict=True)]

    def seen(axis: int, a: Array, b: Array) -> Any:
        behind = b - first[axis][a]
        return (behind >= 0) & (behind % step[axis] == 0) & (behind // step[axis] < kernel[axis])

    return seen_by(p, seen)


@twin("equals_moved_and_added", "gradients_equal_moved_and_added", row=GATE)
def kernel_mirrored(f: Mechanism, p: Problem) -> Any:
    """A convolution in the mathematical sense: the kernel stands on its head."""
    return p.but(kernel=p.options["kernel"][:, ::-1, ::-1]).call(f)


@twin("equals_moved_and_added", row=GATE)
def largest_before_mean(f: Mechanism, p: Problem) -> Any:
    """The map of the largest channels comes first."""
    return p.but(kernel=p.options["kernel"][::-1]).call(f)


@twin("equals_half", "nothing_grows", row=GATE)
def gate_up_to_two(f: Mechanism, p: Problem) -> Any:
    """Twice the sigmoid, so that weights of 0 change nothing."""
    return 2 * p.call(f)


@twin("equals_the_image", row=GATE)
def bias_forgotten(f: Mechanism, p: Problem) -> Any:
    """A convolution without a bias."""
    return p.but(bias=0.0).call(f)


@twin("channels_have_no_order", row=GATE)
def the_first_channel_for_all(f: Mechanism, p: Problem) -> Any:
    """Where to look is decided by the first channel."""
    return p.q * (p.but(q=p.q[..., :1, :, :]).call(f) / p.q[..., :1, :, :])


@twin("equals_rotary_of_one_half", "gradients_equal_rotary_of_one_half", row=TURN)
def row_and_column_exchanged(f: Mechanism, p: Problem) -> Any:
    """The first half of the channels is turned by the column."""
    half = p.q.shape[-1] // 2
    other = np.arange(p.q.shape[-1]) + half
    channels = other % p.q.shape[-1]
    grid = p.options["grid"]

    def turned(x: Any) -> Any:
        return ops.rotary_2d(x[..., channels], grid=grid)[..., channels]

    options = {name: given for name, given in p.options.items() if name != "grid"}
    return definitions.attention(turned(p.q), turned(p.k), p.v, **options)


@twin("only_distances_matter", row=TURN)
def turned_by_the_place_in_the_text(f: Mechanism, p: Problem) -> Any:
    """Both halves are turned by the number of the token: rotary positions along a line."""
    return p.but(grid=(p.q.shape[-2], 1)).call(f)
