"""The tiles of a pattern that contain a visible pair, listed row by row: no array of all pairs, and none of all tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinyattn.kernels.tiles.storage import Sizes
from tinyattn.ops.checks import check_broadcast
from tinyattn.ops.masks import Pattern
from tinyattn.ops.types import Array

# The kind of a tile whose pairs are all visible; others have the number of the tile that shows which are.
WHOLE = -1
# Tiles of which a pattern is asked at once.
TOGETHER = 1 << 16
# Lists that a constant pattern keeps, one per shape of a call.
KEPT = 8


class Listed(NamedTuple):
    """For each head the rows of tiles, for each row its visible tiles, for each tile its pairs.

    Row r of tiles of head h (counted over the batch) is entries[row[heads[h] + r]] up to the next row's; an entry is a pair of
    numbers, of the tile of keys and of its kind. Kind n is `pairs[n]`, [kv_tile][q_tile], and in it query i sees no key before
    i + band[n, 0] and none after i + band[n, 1]. All are flat; no heads is no list, and every tile is visited.
    """

    heads: Array
    row: Array
    entries: Array
    band: Array
    pairs: Array


# How many of the arrays that a kernel reads are a list of tiles.
LISTS = len(Listed._fields)


def all_tiles() -> Listed:
    """Returns the list that is not there."""
    none = np.zeros(0, np.int64)
    return Listed(none, none, none, none, np.zeros(0, np.uint8))


class Constant(Pattern):
    """A pattern that is made of numbers alone and never changes, so that its tiles are listed once and kept with it."""

    __slots__ = ("lists",)

    def __init__(self, pattern: Pattern) -> None:
        super().__init__(pattern.see, corners=pattern.corners, text=pattern.text, weight=pattern.weight)
        self.lists: dict[tuple[Any, ...], Listed] = {}


def listed(pattern: Pattern, left: int, right: int, full: tuple[int, ...], sizes: Sizes) -> Listed:
    """Returns the tiles of a pattern, of one that is constant those that are kept with it.

    A tile is left out where no query p may see a key from p - left to p + right, which the pattern is then not asked about.
    """
    if not isinstance(pattern, Constant):
        return found(pattern, left, right, full, sizes)
    key = (left, right, full, sizes.q_tile, sizes.kv_tile)
    made = pattern.lists.get(key)
    if made is None:
        if len(pattern.lists) >= KEPT:
            pattern.lists.clear()
        made = pattern.lists[key] = found(pattern, left, right, full, sizes)
    return made


def found(pattern: Pattern, left: int, right: int, full: tuple[int, ...], sizes: Sizes) -> Listed:
    """Returns the tiles of a pattern; only those that may be cut are evaluated pair by pair, and equal ones are stored once."""
    q_len, kv_len = full[-2:]
    q_blocks, kv_blocks = -(-q_len // sizes.q_tile), -(-kv_len // sizes.kv_tile)
    known: dict[bytes, int] = {}
    tiles: list[Array] = []
    parts: list[tuple[Array, ...]] = []
    lead: tuple[int, ...] = ()
    strip = max(1, TOGETHER // max(kv_blocks, 1))
    for first in range(0, max(q_blocks, 1), strip):
        rows = np.arange(first, min(q_blocks, first + strip))
        some, every = corners_of(pattern, left, right, rows, q_len, kv_len, sizes)
        lead = np.broadcast_shapes(some.shape, every.shape, (len(rows), kv_blocks))[:-2]
        check_broadcast("mask", (*lead, q_len, kv_len), full)
        shape = (math.prod(lead), len(rows), kv_blocks)
        some, every = (np.broadcast_to(x, (*lead, *shape[1:])).reshape(shape) for x in (some, every))
        kinds = np.where(every, WHOLE, WHOLE - 1)  # WHOLE - 1 is a tile that nobody sees
        for head, row, column, bits, shown in cut_tiles(pattern, some & ~every, rows, lead, full, sizes):
            if bits not in known:
                known[bits] = WHOLE if shown.all() else len(tiles) if shown.any() else WHOLE - 1
                if known[bits] >= 0:
                    tiles.append(shown.T)
            kinds[head, row, column] = known[bits]
        at = np.nonzero(kinds >= WHOLE)
        parts.append((at[0], at[1] + first, at[2], kinds[at]))
    heads, rows, columns, kinds = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(heads * q_blocks + rows, kind="stable")
    counts = np.bincount(heads * q_blocks + rows, minlength=math.prod(lead) * q_blocks)
    first_rows = np.arange(math.prod(lead)).reshape((1,) * (len(full) - 2 - len(lead)) + lead) * q_blocks
    entries = np.stack((columns[order], kinds[order]), axis=-1)
    bands, pairs = np.array([band_of(tile) for tile in tiles], np.int64), np.array(tiles, np.uint8)
    return Listed(np.broadcast_to(first_rows, full[:-2]).flatten(), np.concatenate(([0], np.cumsum(counts))), entries.reshape(-1),
                  bands.reshape(-1), pairs.reshape(-1))


def corners_of(pattern: Pattern, left: int, right: int, rows: Array, q_len: int, kv_len: int,
               sizes: Sizes) -> tuple[Array, Array]:
    """Returns what a pattern says of some rows of tiles: whether some pair of each is visible, and whether every pair is.

    Tiles that no query reaches by its position have neither.
    """
    first, j0 = rows[:, None] * sizes.q_tile, np.arange(0, kv_len, sizes.kv_tile)[None]
    last, j1 = np.minimum(first + sizes.q_tile, q_len) - 1, np.minimum(j0 + sizes.kv_tile, kv_len) - 1
    i0, i1 = first + (kv_len - q_len), last + (kv_len - q_len)
    some, every = pattern.corners(i0, i1, j0, j1)
    reached = (j1 >= i0 - left) & (j0 <= i1 + right)
    return some & reached, every & reached


def all_see_themselves(tiles: Listed, length: int, sizes: Sizes) -> bool:
    """Returns whether the tiles show that every token of a text sees itself: then no query and no key is without a partner."""
    count, side = -(-length // sizes.kv_tile), sizes.kv_tile
    if side != sizes.q_tile or not count:
        return False
    columns, kinds = tiles.entries.reshape(-1, 2).T
    rows = np.repeat(np.arange(len(tiles.row) - 1) % count, np.diff(tiles.row))
    # How many tokens see themselves in a tile of each kind; the last number is that of a tile that all see whole.
    seen = np.append(tiles.pairs.reshape(-1, side, side).diagonal(axis1=1, axis2=2).sum(axis=1), side)
    own = rows == columns
    return bool(own.sum() == len(tiles.row) - 1 and np.all(seen[kinds[own]] >= np.minimum(side, length - side * rows[own])))


def cut_tiles(pattern: Pattern, cut: Array, rows: Array, lead: tuple[int, ...], full: tuple[int, ...],
              sizes: Sizes) -> Iterator[tuple[int, int, int, bytes, Array]]:
    """Yields (head, row, column, bits, pairs [q_tile][kv_tile]) of the tiles that may be cut; no pair beyond an end is visible."""
    q_len, kv_len = full[-2:]
    for at in np.flatnonzero(cut.any(axis=(0, 2))):
        columns = np.flatnonzero(cut[:, at].any(axis=0))
        queries = np.arange(rows[at] * sizes.q_tile, min(q_len, (rows[at] + 1) * sizes.q_tile))
        keys = (columns[:, None] * sizes.kv_tile + np.arange(sizes.kv_tile)).reshape(-1)
        count = np.searchsorted(keys, kv_len)
        seen = pattern.visible(queries + (kv_len - q_len), keys[:count])
        if seen.shape[-2:] != (sizes.q_tile, len(keys)):
            seen = np.pad(seen, [(0, 0)] * (seen.ndim - 2) + [(0, sizes.q_tile - len(queries)), (0, len(keys) - count)])
        shown = np.broadcast_to(seen, (*lead, *seen.shape[-2:])).reshape(-1, sizes.q_tile, len(columns), sizes.kv_tile)
        bits = np.packbits(shown, axis=-1)
        for head, place in zip(*np.nonzero(cut[:, at][:, columns]), strict=True):
            yield int(head), int(at), int(columns[place]), bits[head, :, place].tobytes(), shown[head, :, place]


def band_of(tile: Array) -> tuple[int, int]:
    """Returns how far the visible keys of a tile lie from its queries: at least, and at most."""
    keys, queries = np.nonzero(tile)
    apart = keys - queries
    return int(apart.min()), int(apart.max())
