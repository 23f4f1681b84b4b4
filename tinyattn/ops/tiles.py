"""Which queries of a call see which keys of one block of it."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import check_broadcast
from tinyattn.ops.types import Array


def seen_tile(mask: Array | Pattern | None, left: int | None, right: int | None, q_positions: Array,
              kv_positions: Array, full: tuple[int, ...]) -> Array:
    """Returns which queries see which keys of one block, from their positions."""
    q_column = q_positions[:, None]
    seen: Array = np.ones((len(q_positions), len(kv_positions)), bool)
    if left is not None:
        seen = seen & (kv_positions >= q_column - left)
    if right is not None:
        seen = seen & (kv_positions <= q_column + right)
    if isinstance(mask, Pattern):
        shown: Array = mask.visible(q_positions, kv_positions)
        check_broadcast("mask", shown.shape, (*full[:-1], len(kv_positions)))
        return seen & shown
    if mask is not None:
        part = mask if not mask.ndim or mask.shape[-1] == 1 else mask[..., kv_positions[0] : kv_positions[-1] + 1]
        return seen & part
    return seen
