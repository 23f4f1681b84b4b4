"""Visibility of one block of keys, for code that never holds the scores of all keys at once."""

from __future__ import annotations

from tinyattn.ops.checks import check_broadcast
from tinyattn.ops.masks.pattern import Pattern, band
from tinyattn.ops.types import Array


def seen_tile(mask: Array | Pattern | None, left: int | None, right: int | None, q_positions: Array,
              kv_positions: Array, full: tuple[int, ...]) -> Array:
    """Returns which queries see which keys of a block of consecutive keys, from the positions of both."""
    seen = band(q_positions[:, None], kv_positions, left, right)
    if mask is None:
        return seen
    if isinstance(mask, Pattern):
        mask = mask.visible(q_positions, kv_positions)
        check_broadcast("mask", (*mask.shape[:-2], *full[-2:]), full)
    elif kv_positions.size and mask.ndim and mask.shape[-1] != 1:
        mask = mask[..., kv_positions[0] : kv_positions[-1] + 1]
    return seen & mask
