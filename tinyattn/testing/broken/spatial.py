"""Faults in lines, neighbourhoods, gates and positions of a grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import definitions, ops
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array
from tinyattn.testing.broken.twin import twin
from tinyattn.testing.broken.windows import seen_by

AXIAL, NEAR, GATE, TURN = "axial_attention", "neighborhood_attention", "spatial_gate", "rotary_2d"


@twin("equals_line_by_line", "gradients_equal_line_by_line", "equals_attention_along_lines", row=AXIAL)
def along_the_next_axis(f: Mechanism, p: Problem) -> Any:
    """Axis 0 is taken to be horizontal, as in (x, y)."""
    return p.but(axis=(p.options["axis"] + 1) % len(p.options["grid"])).call(f)


@twin("a_transposed_image_has_the_other_axis", row=AXIAL)
def columns_first(f: Mechanism, p: Problem) -> Any:
    """Tokens are read as if they were stored column by column."""
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
    """An even kernel has its extra cell on the right."""
    if any(p.options["causal"]) or max(p.options["stride"]) > 1 or max(p.options["dilation"]) > 1:
        return p.call(f)
    order = np.arange(p.q.shape[-2])[::-1]
    return p.tokens(order).call(f)[..., order, :]


@twin("equals_attention", "equals_own_values", row=NEAR)
def without_its_centre(f: Mechanism, p: Problem) -> Any:
    """A cell sees its neighbours and not itself."""
    options = {**p.options, "stride": (1,) * len(p.options["grid"])}
    own = definitions.attention_weights(p.q, p.k, mask=np.eye(p.q.shape[-2], dtype=bool))
    return p.but(**options).call(f) - 0.5 * own @ p.repeated().v


@twin("equals_last_cells", "far_from_borders_it_is_a_window", row=NEAR)
def kernel_less_one(f: Mechanism, p: Problem) -> Any:
    """The kernel counts the cells besides the query's own."""
    fewer = tuple(max(n - 1, 1) for n in np.broadcast_to(p.options["kernel"], len(p.options["grid"])))
    return p.but(kernel=tuple(int(n) for n in fewer), stride=1).call(f)


@twin("later_tokens_change_nothing_earlier", "equals_last_cells", row=NEAR)
def causal_moves_inward(f: Mechanism, p: Problem) -> Any:
    """A causal window moves inward at the beginning, over future cells."""
    kernel = np.broadcast_to(p.options["kernel"], len(p.options["grid"]))
    if len(kernel) > 1 or max(np.broadcast_to(p.options["dilation"], 1)) > 1 or not np.all(p.options["causal"]):
        return p.call(f)
    first = [np.maximum(np.arange(n) - size + 1, 0) for n, size in zip(p.options["grid"], kernel, strict=True)]
    return seen_by(p, lambda axis, a, b: (b >= first[axis][a]) & (b < first[axis][a] + kernel[axis]))


@twin("equals_shifted_window_attention", row=NEAR)
def a_run_is_led_by_its_first(f: Mechanism, p: Problem) -> Any:
    """The cells of a run share the window of its first cell instead of its middle one."""
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
    """The kernel is flipped, as in a mathematical convolution."""
    return p.but(kernel=p.options["kernel"][:, ::-1, ::-1]).call(f)


@twin("equals_moved_and_added", row=GATE)
def largest_before_mean(f: Mechanism, p: Problem) -> Any:
    """The map of the largest channels comes before that of the means."""
    return p.but(kernel=p.options["kernel"][::-1]).call(f)


@twin("equals_half", "nothing_grows", row=GATE)
def gate_up_to_two(f: Mechanism, p: Problem) -> Any:
    """The gate is twice the sigmoid, so that weights of 0 change nothing."""
    return 2 * p.call(f)


@twin("equals_the_image", row=GATE)
def bias_forgotten(f: Mechanism, p: Problem) -> Any:
    """The convolution has no bias."""
    return p.but(bias=0.0).call(f)


@twin("channels_have_no_order", row=GATE)
def the_first_channel_for_all(f: Mechanism, p: Problem) -> Any:
    """The map is made from the first channel alone."""
    return p.q * (p.but(q=p.q[..., :1, :, :]).call(f) / p.q[..., :1, :, :])


@twin("equals_rotary_of_one_half", "gradients_equal_rotary_of_one_half", row=TURN)
def row_and_column_exchanged(f: Mechanism, p: Problem) -> Any:
    """The first half of the channels is rotated by the column."""
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
    """Both halves are rotated by the number of the token, as rotary positions along a line."""
    return p.but(grid=(p.q.shape[-2], 1)).call(f)


@twin("equals_rotary_of_one_half", "gradients_equal_rotary_of_one_half", row=TURN)
def angles_of_the_whole_width(f: Mechanism, p: Problem) -> Any:
    """The frequencies are those of the whole width, shared out between both axes: the column turns by the slow ones alone."""
    grid, options = p.options["grid"], {name: given for name, given in p.options.items() if name != "grid"}
    row, column = np.divmod(np.arange(p.q.shape[-2]), grid[1])
    half = p.q.shape[-1] // 2
    speeds = 10000.0 ** (-2.0 * np.arange(half) / p.q.shape[-1])
    angles = np.concatenate((row[:, None] * speeds[: half // 2], column[:, None] * speeds[half // 2 :]), axis=-1)

    def turned(x: Any) -> Any:
        parts = (ops.rotary_by(x[..., at : at + half], np.cos(angles[:, n]), np.sin(angles[:, n]))
                 for at, n in ((0, slice(None, half // 2)), (half, slice(half // 2, None))))
        return np.concatenate(tuple(parts), axis=-1)

    return definitions.attention(turned(p.q), turned(p.k), p.v, **options)
