"""From products to scores, on one tile: cap, bias, and -inf where a query does not see.

Tiles stand transposed, [key][query].
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyattn.kernels.tiles.hidden import hide_row
from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.listed import WHOLE
from tinyattn.kernels.tiles.vector import column_tanh


class Rules(NamedTuple):
    """What becomes of a product q . k: `factor` times it, capped, the biases added, hidden where unseen.

    Numbers alone: an array inside a tuple would be counted by reference, atomically, whenever a kernel touches it.
    cap is 0 for none, and factor takes in the division by it. `..._row` and `..._column` are the strides of
    arrays that broadcast; the flags say which are there.
    """

    factor: float
    cap: float
    left: int
    right: int
    listed: bool
    masked: bool
    biased: bool
    distant: bool
    mask_row: int
    mask_column: int
    bias_row: int
    bias_column: int


@inlined
def key_range(i0, rows, sizes, rules):
    """Returns the first key that a query of the tile sees by its position, and the one after the last."""
    first = i0 + sizes.kv_len - sizes.q_len
    return max(0, first - rules.left), min(sizes.kv_len, first + rows + rules.right)


@inlined
def band(i0, j0, sizes, rules):
    """Returns (below, above): query i of a tile sees by its position the tile's keys i + below to i + above."""
    offset = i0 + sizes.kv_len - sizes.q_len - j0
    return offset - rules.left, offset + rules.right


@inlined
def tiles_of(head, i0, low, high, heads, row, sizes, rules):
    """Returns the first tile of keys that a tile of queries visits and the one after the last: entries of a list, or tiles."""
    if rules.listed:
        at = heads[head] + i0 // sizes.q_tile
        return row[at], row[at + 1]
    return low // sizes.kv_tile, (high + sizes.kv_tile - 1) // sizes.kv_tile


@inlined
def tile_at(n, i0, entries, bands, sizes, rules):
    """Returns (j0, kind, below, above) of a tile: query i sees of it at most the keys i + below to i + above."""
    j0, kind = n * sizes.kv_tile, WHOLE
    if rules.listed:
        j0, kind = entries[2 * n] * sizes.kv_tile, entries[2 * n + 1]
    below, above = band(i0, j0, sizes, rules)
    if kind >= 0:
        below, above = max(below, bands[2 * kind]), min(above, bands[2 * kind + 1])
    return j0, kind, below, above


@inlined
def keys_of_tile(j0, high, sizes):
    """Returns how many keys of a tile are computed: those before `high` and what fills up a micro tile, as far as there are keys."""
    return min(sizes.kv_tile, (high - j0 + ROWS - 1) // ROWS * ROWS, sizes.kv_len - j0)


@inlined
def add_row(target, target_at, source, at, count):
    """Adds `count` neighbours to as many others; an index without a sign is one that cannot count from the end, which vectorises."""
    into, out_of = np.uintp(target_at), np.uintp(at)
    for x in range(np.uintp(count)):
        target[into + x] += source[out_of + x]


@inlined
def add_bias(s, bias, at, rows, keys, sizes, rules):
    """Adds the bias of each pair; bias[at] is that of the tile's first."""
    width = sizes.q_tile
    if rules.bias_row == 1:
        for j in range(keys):
            add_row(s, j * width, bias, at + j * rules.bias_column, rows)
        return
    for j in range(keys):
        for i in range(rows):
            s[j * width + i] += bias[at + i * rules.bias_row + j * rules.bias_column]


@inlined
def add_distance(s, distance, at, rows, keys, sizes):
    """Adds a bias of distances; distance[at] is that of the tile's first pair."""
    for j in range(keys):
        add_row(s, j * sizes.q_tile, distance, at - j, rows)


@inlined
def is_cut(i0, j0, rows, keys, sizes, rules):
    """Returns whether a position's range, or the end of the keys, cuts through a tile."""
    first = i0 + sizes.kv_len - sizes.q_len
    return j0 < first + rows - 1 - rules.left or j0 + keys - 1 > first + rules.right


@inlined
def hide_far(s, i0, j0, rows, keys, sizes, rules):
    """Writes -inf where a key is out of the query's range: selected, so that NaN there goes too."""
    width = sizes.q_tile
    first = i0 + sizes.kv_len - sizes.q_len
    # Of key j the queries from j - right to j + left see; keys before `near` and from `far` on are not seen by all.
    near = max(0, min(keys, first + rows - 1 - rules.left - j0))
    far = max(near, min(keys, first + rules.right + 1 - j0))
    for j in range(keys):
        if near <= j < far:
            continue
        start = min(max(0, j0 + j - rules.right - first), width)
        stop = max(start, min(width, j0 + j + rules.left - first + 1))
        hide_row(s, j * width, width, start, stop)


@inlined
def hide_by_tile(s, tiles, at, count):
    """Writes -inf where a tile of a pattern has 0."""
    nowhere = s.dtype.type(-np.inf)
    for x in range(count):
        s[x] = s[x] if tiles[at + x] else nowhere


@inlined
def hide_by_mask(s, mask, at, rows, keys, sizes, rules):
    """Writes -inf where a mask has 0; mask[at] is that of the tile's first pair."""
    nowhere, width = s.dtype.type(-np.inf), sizes.q_tile
    if rules.mask_row == 1:
        for j in range(keys):
            into, out_of = np.uintp(j * width), np.uintp(at + j * rules.mask_column)
            for i in range(np.uintp(rows)):
                s[into + i] = s[into + i] if mask[out_of + i] else nowhere
        return
    for j in range(keys):
        for i in range(rows):
            if not mask[at + i * rules.mask_row + j * rules.mask_column]:
                s[j * width + i] = nowhere


@inlined
def score(s, head, kind, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at, bias, bias_at, distance):
    """Turns a tile of capped products into scores: biases added, -inf where unseen."""
    if rules.biased:
        add_bias(s, bias, bias_at[head] + i0 * rules.bias_row + j0 * rules.bias_column, rows, keys, sizes, rules)
    if rules.distant:
        add_distance(s, distance, distance_at(head, i0, j0, sizes), rows, keys, sizes)
    hide(s, head, kind, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at)


@inlined
def hide(s, head, kind, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at):
    """Writes -inf where a query does not see a key."""
    if is_cut(i0, j0, rows, keys, sizes, rules):
        hide_far(s, i0, j0, rows, keys, sizes, rules)
    if kind >= 0:
        hide_by_tile(s, tiles, kind * sizes.kv_tile * sizes.q_tile, keys * sizes.q_tile)
    if rules.masked:
        hide_by_mask(s, mask, mask_at[head] + i0 * rules.mask_row + j0 * rules.mask_column, rows, keys, sizes, rules)


@inlined
def distance_at(head, i0, j0, sizes):
    """Returns where the bias of the pair (i0, j0) stands in a head's biases of distances."""
    return head % sizes.heads * (sizes.q_len + sizes.kv_len - 1) + i0 - j0 + sizes.kv_len - 1


@inlined
def cap(s, keys, sizes, rules, spare):
    """Replaces the scores over the cap by the cap times tanh of them."""
    bound = s.dtype.type(rules.cap)
    column_tanh(s, keys, sizes.q_tile, spare, spare)
    for x in range(keys * sizes.q_tile):
        s[x] *= bound
