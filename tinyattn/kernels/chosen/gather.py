"""The rows of a part of the queries that chose each block, and their scores with its keys."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import product_set
from tinyattn.kernels.tiles.seen import UNBOUNDED
from tinyattn.kernels.tiles.vector import scale_row


class Parts(NamedTuple):
    """The rows of a kv head are those of all heads of its group, `rows` of them, in parts of `part` rows.

    Row r has the picks `r % picked` of the kv head, `keep` of them, among `blocks` blocks of `block` keys. A key stands for
    `step` tokens, and is seen by the queries from its last token on; of those keys a row sees the last `left` + 1.
    """

    rows: int
    part: int
    picked: int
    keep: int
    blocks: int
    block: int
    first: int
    step: int
    left: int


@inlined
def rows_by_block(picks, kv_head, first, count, parts, begins, cursor, members):
    """Fills members with the rows, `count` from `first` on, that chose block 0, then block 1, ...

    Those of block b stand from begins[b] to begins[b + 1].
    """
    for b in range(parts.blocks + 1):
        begins[b] = 0
    for row in range(first, first + count):
        at = (kv_head * parts.picked + row % parts.picked) * parts.keep
        for n in range(at, at + parts.keep):
            if picks[n] >= 0:
                begins[picks[n] + 1] += 1
    for b in range(parts.blocks):
        begins[b + 1] += begins[b]
        cursor[b] = begins[b]
    for row in range(first, first + count):
        at = (kv_head * parts.picked + row % parts.picked) * parts.keep
        for n in range(at, at + parts.keep):
            if picks[n] >= 0:
                members[cursor[picks[n]]] = row
                cursor[picks[n]] += 1


@inlined
def gather(target, at, step, source, row, width, wide, factor, micro):
    """Fills a row of panels, which stand `step` apart, or of a plain array with a step of micro, with factor times a row."""
    for column in range(0, width, micro):
        scale_row(target, at + column // micro * step, source, row * wide + column, factor)


@inlined
def positions(places, members, start, rows, parts, queries):
    """Fills places with the last key that each row of a tile sees, and returns the first and the last of these."""
    low, high = parts.blocks * parts.block, -1
    for i in range(rows):
        places[i] = (members[start + i] % queries + parts.first + 1) // parts.step - 1
        low, high = min(low, places[i]), max(high, places[i])
    return low, high


@inlined
def first_key(b, low, parts):
    """Returns the first key of block b that a tile reads, the last key that each of its rows sees being `low` or later."""
    return max(b * parts.block, (low - parts.left) // ROWS * ROWS)


@inlined
def scores_of_block(s, q_t, k, at, j0, there, keys, rows, width, low, high, places, sizes, parts):
    """Fills s [key][row] with the scores of some keys of a block, the first being j0, whose row of k is `at`, -inf where hidden."""
    product_set(s, 0, width, sizes.micro_columns, k, at * sizes.head_width, sizes.head_width, 1, q_t,
                sizes.head_width * sizes.micro_columns, keys, width, sizes.head_dim, sizes.micro_columns, -UNBOUNDED, UNBOUNDED)
    hide(s, j0, there, keys, rows, width, low, high, places, parts.left)


@inlined
def hide(s, j0, there, keys, rows, width, low, high, places, left):
    """Writes -inf where a key is not among those that a row sees, and to the keys from `there` on, which are not of the block.

    A number is chosen for every row, so that this becomes registers.
    """
    nowhere = s.dtype.type(-np.inf)
    for j in range(there):
        key, at = j0 + j, np.uint64(j * width)
        if key > low or key < high - left:
            for i in range(np.uint64(rows)):
                s[at + i] = s[at + i] if (key <= places[i]) & (places[i] <= key + left) else nowhere
    for x in range(there * width, keys * width):
        s[x] = nowhere
