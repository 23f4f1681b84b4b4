"""Contextual positions on one tile: gates from the scores, their sums over the later keys, and a bias from a table of each query.

Forward, tiles of keys come from the right, and each query carries the sum of the gates so far. The backward comes from the left:
what a query counts at a key is its whole sum less that of the earlier gates, and the gradient of a gate is the sum of those of
the counts at earlier keys. Once all queries of a tile have counted to the last position, the gates of earlier keys have no effect,
and are not computed: forward and backward, the bias is there one number per query.

The table of a tile of queries, [position][query], is their product with the embedding, a few positions at a time as counts grow. The
embedding ends with its last position twice: from there on a count has no slope.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.exact.gates import column_count
from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.product import product_add, product_set
from tinyattn.kernels.tiles.seen import UNBOUNDED
from tinyattn.kernels.tiles.storage import Sizes, rounded_up
from tinyattn.kernels.tiles.vector import pack_rows
from tinyattn.ops.types import Array


def counting(embedding: Array | None, counts: Array | None, sizes: Sizes, dtype: Any) -> tuple[int, Array | None, Array]:
    """Returns what the kernels read of contextual positions: how many there are, their embedding if any, and the sums of gates."""
    if embedding is None or counts is None:
        return 0, None, np.zeros(0)
    positions = len(embedding)
    held = np.zeros((rounded_up(positions + 1, sizes.kv_tile), sizes.head_width), dtype)
    held[:positions, : sizes.head_dim] = embedding
    held[positions] = held[positions - 1]
    return positions, held.reshape(-1), counts.reshape(-1)


@inlined
def table_rows(positions, sizes):
    """Returns how many positions the table of a tile has room for: one after the last, in whole tiles."""
    return (positions // sizes.kv_tile + 1) * sizes.kv_tile


@inlined
def add_exactly(total, low, i, x):
    """Adds x to total[i], and what is rounded away to low[i]: what is added in one order is taken away in the other."""
    new = total[i] + x
    low[i] += (total[i] - new) + x if abs(total[i]) >= abs(x) else (x - new) + total[i]
    total[i] = new


@inlined
def stand_at_counts(stands, shares, limits, carry, low, rows, width, last):
    """Fills stands with where each query has the position below its count, shares with the rest, limits with how far the last is."""
    for i in range(width):
        stands[i], shares[i], limits[i] = i, 0, 0
    for i in range(rows):
        count = carry[i] + low[i]
        if not count < last:
            stands[i] = last * width + i
        elif count > 0:
            whole = int(count)
            stands[i], shares[i], limits[i] = whole * width + i, count - whole, last - whole
        else:
            limits[i] = last


@inlined
def count_from_right(s, c, run, stands, shares, limits, carry, low, factor, keys, rows, width, last):
    """Fills c with the sum of each query's gates in the tile from a key on, and adds those of all to what the query carries."""
    column_count(s, c, c, run, factor, keys, width)
    stand_at_counts(stands, shares, limits, carry, low, rows, width, last)
    for i in range(width):
        add_exactly(carry, low, i, run[i])


@inlined
def count_from_left(s, g, c, run, stands, shares, limits, rest, low, factor, keys, rows, width, last):
    """Fills g with gates and c with their sums, and takes those of the tile from what remains of each query's sum, `rest`."""
    column_count(s, g, c, run, factor, keys, width)
    for i in range(width):
        add_exactly(rest, low, i, -run[i])
    stand_at_counts(stands, shares, limits, rest, low, rows, width, last)


@inlined
def all_counted(carry, rows, last):
    """Returns whether every query of a tile has counted to the last position."""
    for i in range(rows):
        if not carry[i] >= last:
            return False
    return True


@inlined
def extended(table, made, carry, low, embedding, q_t, rows, width, last, sizes):
    """Fills the table from row `made` on as far as the queries have counted; returns how many rows it has then."""
    wanted = 0
    for i in range(rows):
        count = carry[i] + low[i]
        # Of a count and the places around it: one above, and one more where a place is rounded up.
        wanted = max(wanted, min(int(count) + 3, last + 2) if count < last else last + 2)
    micro = sizes.micro_columns
    while made < wanted:
        product_set(table, made * width, width, micro, embedding, made * sizes.head_width, sizes.head_width, 1, q_t,
                    sizes.head_width * micro, sizes.kv_tile, width, sizes.head_dim, micro, -UNBOUNDED, UNBOUNDED)
        made += sizes.kv_tile
    return made


@inlined
def add_ends(s, table, at, keys, width):
    """Adds to each score what its query's table ends with, from table[at] on."""
    for j in range(keys):
        for i in range(width):
            s[j * width + i] += table[at + i]


@inlined
def end_slopes(d_s, d_table, at, run, keys, width):
    """Adds d_s to the gradient of what the tables end with."""
    for i in range(width):
        run[i] = 0
    for j in range(keys):
        for i in range(width):
            run[i] += d_s[j * width + i]
    for i in range(width):
        d_table[at + i] += run[i]


@inlined
def table_slopes(d_table, made, d_q_tile, embedding, panels, q_panels, d_embedding, at, rows, width, sizes):
    """Adds what the gradient of a tile's table gives: to that of the queries, and from d_embedding[at] on to that of the embedding."""
    micro, tile, head_width = sizes.micro_columns, sizes.kv_tile, sizes.head_width
    for row in range(0, made, tile):
        product_add(d_embedding, at + row * head_width, head_width, micro, d_table, row * width, width, 1, q_panels, width * micro,
                    tile, head_width, rows, micro, -UNBOUNDED, UNBOUNDED)
        pack_rows(panels, tile, embedding, row * head_width, head_width, tile, embedding.dtype.type(1), micro)
        product_add(d_q_tile, 0, micro, width * micro, d_table, row * width, 1, width, panels, tile * micro, rows, head_width, tile,
                    micro, -UNBOUNDED, UNBOUNDED)
