"""Who sees whom, as kernels read it: a range of positions, a map of blocks with the tiles of those that are cut, a mask."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tinyattn.kernels.tiles.storage import Places, Sizes, nothing, places
from tinyattn.ops.checks import check_broadcast
from tinyattn.ops.masks import EMPTY, FULL, PARTIAL, Pattern, window
from tinyattn.ops.options import Window, check_window
from tinyattn.ops.types import Array

UNBOUNDED = 1 << 60
SKIP, WHOLE = -2, -1


class Seen(NamedTuple):
    """Query position p sees key j if p - left <= j <= p + right, the block's tile says so, and the mask does.

    blocks holds for each block SKIP, WHOLE or the number of its tile in `tiles`, [kv_tile][q_tile] each.
    """

    left: int
    right: int
    blocks: Places
    tiles: Array
    mask: Places


def sides_of(window: Window | None) -> tuple[int | None, int | None]:
    """Returns a window's checked sides as ints that positions are added to without overflow; no key is farther than that."""
    left, right = (None if side is None else min(int(side), UNBOUNDED) for side in check_window(window))
    return left, right


def seen_of(mask: Array | Pattern | None, left: int | None, right: int | None, full: tuple[int, ...], sizes: Sizes) -> Seen:
    """Returns a call's mask, causality and window as the kernels read them; a Pattern's blocks take in the window."""
    low, high = (UNBOUNDED if side is None else side for side in (left, right))
    no_blocks, no_tiles, no_mask = nothing(np.int32), np.zeros(0, np.uint8), nothing(np.uint8)
    if mask is None:
        return Seen(low, high, no_blocks, no_tiles, no_mask)
    if isinstance(mask, Pattern):
        if left is not None or right is not None:
            mask = mask & window(left, right)
        numbers, tiles = block_map(mask, full, sizes)
        return Seen(UNBOUNDED, UNBOUNDED, places(numbers, (*full[:-2], *numbers.shape[-2:])), tiles, no_mask)
    return Seen(low, high, no_blocks, no_tiles, places(mask.view(np.uint8), full))


def block_map(pattern: Pattern, full: tuple[int, ...], sizes: Sizes) -> tuple[Array, Array]:
    """Returns the blocks of a pattern, SKIP, WHOLE or a tile's number, and the tiles, equal ones stored once.

    Only blocks that may be cut are evaluated, a row of blocks at a time.
    """
    q_len, kv_len = full[-2:]
    q_tile, kv_tile = sizes.q_tile, sizes.kv_tile
    kinds = pattern.blocks(q_len, kv_len, q_tile, kv_tile)
    check_broadcast("mask", (*kinds.shape[:-2], q_len, kv_len), full)
    numbers = np.select([kinds == EMPTY, kinds == FULL], [np.int32(SKIP), np.int32(WHOLE)], np.int32(0))
    *lead, q_blocks, kv_blocks = kinds.shape
    heads = math.prod(lead)
    flat_kinds, flat = (x.reshape(heads, q_blocks, kv_blocks) for x in (kinds, numbers))
    known: dict[bytes, int] = {}
    for i in range(q_blocks):
        cut = np.flatnonzero((flat_kinds[:, i] == PARTIAL).any(axis=0))
        if not cut.size:
            continue
        queries = np.arange(i * q_tile, min(q_len, (i + 1) * q_tile))
        keys = (cut[:, None] * kv_tile + np.arange(kv_tile)).reshape(-1)
        visible = pattern.visible(queries + (kv_len - q_len), np.minimum(keys, max(kv_len - 1, 0)))
        visible = np.broadcast_to(visible & (keys < kv_len), (*lead, len(queries), len(keys)))
        shown = np.zeros((heads, len(keys), q_tile), np.uint8)
        shown[..., : len(queries)] = visible.reshape(heads, len(queries), len(keys)).mT
        inside = np.zeros((len(keys), q_tile), np.uint8)
        inside[keys < kv_len, : len(queries)] = 1
        for n, head in enumerate(shown):
            for place, block in enumerate(cut):
                if flat_kinds[n, i, block] == PARTIAL:
                    part = slice(place * kv_tile, (place + 1) * kv_tile)
                    tile = head[part]
                    if not tile.any():
                        flat[n, i, block] = SKIP
                    elif np.array_equal(tile, inside[part]):
                        flat[n, i, block] = WHOLE
                    else:
                        flat[n, i, block] = known.setdefault(tile.tobytes(), len(known))
    return numbers, np.frombuffer(bytearray(b"".join(known)), np.uint8)


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
