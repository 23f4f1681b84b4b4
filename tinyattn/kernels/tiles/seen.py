"""Who sees whom, as kernels read it: a range of positions, a list of tiles with the pairs of those that are cut, a mask."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyattn.kernels.tiles.listed import Listed, all_tiles, listed
from tinyattn.kernels.tiles.storage import Places, Sizes, nothing, places
from tinyattn.ops.masks import Pattern
from tinyattn.ops.options import Window, check_causal, check_mask, check_window
from tinyattn.ops.types import Array

UNBOUNDED = 1 << 60


class Seen(NamedTuple):
    """Query position p sees key j if p - left <= j <= p + right, the list of tiles shows it, and the mask does."""

    left: int
    right: int
    tiles: Listed
    mask: Places


def sides_of(window: Window | None) -> tuple[int | None, int | None]:
    """Returns a window's checked sides as ints that positions are added to without overflow; no key is farther than that."""
    left, right = (None if side is None else min(int(side), UNBOUNDED) for side in check_window(window))
    return left, right


def seen_of(mask: Array | Pattern | None, left: int | None, right: int | None, full: tuple[int, ...], sizes: Sizes) -> Seen:
    """Returns a call's mask, causality and window as the kernels read them."""
    low, high = (UNBOUNDED if side is None else side for side in (left, right))
    tiles = listed(mask, low, high, full, sizes) if isinstance(mask, Pattern) else all_tiles()
    shown = places(mask.view(np.uint8), full) if isinstance(mask, np.ndarray) else nothing(np.uint8)
    return Seen(low, high, tiles, shown)


def seen_edges(mask: Array | Pattern | None, left: int | None, right: int | None, full: tuple[int, ...],
               kv_heads: int) -> tuple[Array, Array]:
    """Returns which queries see a key, (..., heads, i), and which keys a query of their kv head sees, (..., kv_heads, j)."""
    *lead, heads, q_len, kv_len = full
    sees, used = np.zeros(full[:-1], bool), np.zeros((*lead, kv_heads, kv_len), bool)
    keys = np.arange(kv_len)
    for start in range(0, q_len, 64):
        positions = np.arange(start, min(start + 64, q_len)) + (kv_len - q_len)
        shown: Array = np.ones((len(positions), kv_len), bool)
        if left is not None:
            shown = shown & (keys >= positions[:, None] - left)
        if right is not None:
            shown = shown & (keys <= positions[:, None] + right)
        if isinstance(mask, Pattern):
            shown = shown & mask.visible(positions, keys)
        elif mask is not None:
            shown = shown & (mask[..., start : start + 64, :] if mask.ndim > 1 and mask.shape[-2] > 1 else mask)
        shown = np.broadcast_to(shown, (*lead, heads, len(positions), kv_len))
        sees[..., start : start + 64] = shown.any(axis=-1)
        used |= shown.any(axis=-2).reshape(*lead, kv_heads, heads // kv_heads, kv_len).any(axis=-2)
    return sees, used


def without_hidden(q: Array, k: Array, v: Array, mask: Array | Pattern | None, causal: bool,
                   window: Window | None, *, together: bool = False) -> tuple[Array, Array, Array]:
    """Returns q, k, v with 0 in queries that see no key and in keys and values that nobody sees, if any of them is not finite.

    It is for what is computed from them before the kernel, such as norms, whose gradients a hidden NaN would reach. With
    `together`, what one head sees is used by all heads.
    """
    full = (*q.shape[:-1], k.shape[-2])
    mask, (left, right) = check_mask(mask, full), sides_of(window)
    right = 0 if check_causal(causal) else right
    if all(np.isfinite(x.sum()) for x in (q, k, v)):
        return q, k, v
    sees, used = seen_edges(mask, left, right, full, k.shape[-3])
    if together:
        sees, used = (np.any(x, axis=-2, keepdims=True) for x in (sees, used))
    return np.where(sees[..., None], q, 0.0), np.where(used[..., None], k, 0.0), np.where(used[..., None], v, 0.0)
