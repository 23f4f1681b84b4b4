"""Rotary positions of several axes at once: each run of pairs rotates by the position on an axis of its own, as time, row, column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyattn.ops.checks import check_broadcast, has_axes, index_array, truth, whole
from tinyattn.ops.positions.frequencies import Frequencies
from tinyattn.ops.positions.rotary import BASE, frequencies_for, turn_pairs
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


@widened
def rotary_sections(x: Array, positions: Array, *, sections: Sequence[int], base: float = BASE, interleaved: bool = False,
                    frequencies: Frequencies | Array | None = None) -> Array:
    """Returns x with each pair of channels rotated by its frequency times the position on the axis to whose section it belongs.

    Formula: pair i is rotated by the angle p_a f_i, where a is the section that holds i: the first sections[0] pairs belong to
    axis 0, the next sections[1] to axis 1, and so on. The frequencies run on through all sections. With the same position on
    all axes this is `rotary`, so text among pictures is rotated as usual. Qwen2-VL calls it M-RoPE; its axes are time, row, column.

    Shapes: x (..., length, head_dim), positions of integers (axes, ...), of which each axis broadcasts to x.shape[:-1], one
    section per axis -> as x. The first 2 sum(sections) channels are rotated. The pairs are those of `rotary`.

    Raises:
        TypeError: positions or sections that are not integers. ValueError: not one section per axis, more pairs than x has, or
            positions or frequencies of another shape.

    Paper: Wang et al. 2024, arXiv:2409.12191.

    >>> x = np.ones((1, 4))
    >>> at = np.array([[3], [0]])
    >>> bool((rotary_sections(x, at, sections=(1, 1))[:, 1::2] == 1).all())
    True
    """
    x, interleaved = floating("x", x), truth("interleaved", interleaved)
    width = has_axes("x", x, 2)[-1]
    if isinstance(sections, str) or not isinstance(sections, Sequence):
        raise TypeError(f"sections: expected a sequence of ints, got {type(sections).__name__}")
    sizes = [whole(f"sections[{n}]", size, 0) for n, size in enumerate(sections)]
    positions = index_array("positions", positions)
    if not sizes or not positions.ndim or positions.shape[0] != len(sizes):
        raise ValueError(f"sections, positions: expected one section per axis of positions, got {len(sizes)} for the first axis of "
                         f"shape {positions.shape}")
    if 2 * sum(sizes) > width:
        raise ValueError(f"sections: expected at most the {width // 2} pairs of x {x.shape}, got {sum(sizes)}")
    given = frequencies_for(2 * sum(sizes), base, frequencies)
    check_broadcast("positions", positions.shape[1:], x.shape[:-1], "(..., length) on each axis")
    angles: Any = np.concatenate([at[..., None] * part for at, part in
                                  zip(positions, np.split(given.values, np.cumsum(sizes)[:-1]), strict=True)], axis=-1)
    cos, sin = (given.attention_factor * turned(angles) for turned in (np.cos, np.sin))
    return turn_pairs(x, cos.astype(x.dtype), sin.astype(x.dtype), interleaved)
