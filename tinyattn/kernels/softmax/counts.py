"""How many keys each query sees, without a square array of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.tiles.seen import sides_of
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_causal, check_mask
from tinyattn.ops.tiles import seen_tile
from tinyattn.ops.types import Array

ROWS = 64


def counts_of(mask: Array | Pattern | None, causal: bool, window: Window | None, full: tuple[int, ...], dtype: Any) -> Array:
    """Returns the number of keys that each query sees, in a shape that broadcasts to (..., heads, q_len, 1).

    >>> counts_of(None, True, (1, 0), (1, 3, 3), np.float64)[:, 0]
    array([1., 2., 2.])
    """
    mask, (left, right) = check_mask(mask, full), sides_of(window)
    right = 0 if check_causal(causal) else right
    q_len, kv_len = full[-2:]
    places, keys = np.arange(kv_len - q_len, kv_len), np.arange(kv_len)
    if mask is None:
        low = np.zeros_like(places) if left is None else np.maximum(places - left, 0)
        high = np.full_like(places, kv_len) if right is None else np.minimum(places + right + 1, kv_len)
        return np.maximum(high - low, 0).astype(dtype)[:, None]
    parts = []
    for start in range(0, q_len, ROWS):
        some = mask[..., start : start + ROWS, :] if isinstance(mask, np.ndarray) and mask.ndim > 1 and mask.shape[-2] > 1 else mask
        at = places[start : start + ROWS]
        seen = seen_tile(some, left, right, at, keys, full)
        parts.append(seen.sum(axis=-1, keepdims=True, dtype=dtype))
    return np.concatenate(parts, axis=-2) if parts else np.ones((0, 1), dtype)
