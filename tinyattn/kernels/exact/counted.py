"""Contextual positions on one tile: gates from the scores, their sums over the later keys, and a bias from a table of each query.

Forward, tiles of keys come from the right, and each query carries the sum of the gates so far. The backward comes from the left:
what a query counts at a key is its whole sum less that of the earlier gates, and the gradient of a gate is the sum of those of
the counts at earlier keys. Once all queries of a tile have counted to the last position, the gates of earlier keys have no effect,
and are not computed: forward and backward, the bias is there one number per query.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.exact.scores import hide
from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.vector import column_exp
from tinyattn.ops.types import Array


def counting(table: Array | None, counts: Array | None, dtype: Any) -> tuple[int, Array, Array]:
    """Returns what the kernels read of contextual positions: how many there are, 0 for none, the tables, and the sums of gates."""
    if table is None or counts is None:
        return 0, np.zeros(0, dtype), np.zeros(0)
    return table.shape[-1], np.require(table, requirements=["C", "W"]).reshape(-1), counts.reshape(-1)


@inlined
def gates_of(g, e, s, factor, head, kind, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at, none, spare):
    """Fills g with sigmoid(factor s) where a query sees a key, and with 0 elsewhere; e is scratch."""
    count = keys * sizes.q_tile
    for x in range(count):
        g[x] = factor * s[x]
    hide(g, head, kind, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at)
    for x in range(count):
        e[x] = -abs(g[x])
    column_exp(e, keys, sizes.q_tile, none, spare)
    for x in range(count):
        g[x] = (g.dtype.type(1) if g[x] >= 0 else e[x]) / (1 + e[x])


@inlined
def add_exactly(total, low, i, x):
    """Adds x to total[i], and what is rounded away to low[i]: what is added in one order is taken away in the other."""
    new = total[i] + x
    low[i] += (total[i] - new) + x if abs(total[i]) >= abs(x) else (x - new) + total[i]
    total[i] = new


@inlined
def count_in_tile(c, g, run, keys, width):
    """Fills c with the sums of each query's gates from a key on, of this tile alone, and run with those of all its keys."""
    for i in range(width):
        run[i] = 0
    for below in range(keys):
        j = keys - 1 - below
        for i in range(width):
            run[i] += g[j * width + i]
            c[j * width + i] = run[i]


@inlined
def count_from_right(c, g, carry, low, run, keys, width):
    """Fills c with the sum of each query's gates from a key on, and adds those of the tile to what the query carries."""
    count_in_tile(c, g, run, keys, width)
    for j in range(keys):
        for i in range(width):
            c[j * width + i] += g.dtype.type(carry[i] + low[i])
    for i in range(width):
        add_exactly(carry, low, i, run[i])


@inlined
def count_from_left(c, g, rest, low, run, keys, width):
    """Fills c with the same from what remains of each query's sum, `rest`, which then loses the gates of the tile."""
    count_in_tile(c, g, run, keys, width)
    for i in range(width):
        add_exactly(rest, low, i, -run[i])
        run[i] = max(rest[i] + low[i], 0.0)
    for j in range(keys):
        for i in range(width):
            c[j * width + i] += run[i]


@inlined
def all_counted(carry, rows, last):
    """Returns whether every query of a tile has counted to the last position."""
    for i in range(rows):
        if not carry[i] >= last:
            return False
    return True


@inlined
def take_ends(ends, table, at, rows, positions):
    """Fills ends with the last number of each query's table."""
    for i in range(rows):
        ends[i] = table[at + i * positions + positions - 1]


@inlined
def add_ends(s, ends, keys, width):
    """Adds to each score what its query's table ends with."""
    for j in range(keys):
        for i in range(width):
            s[j * width + i] += ends[i]


@inlined
def end_slopes(d_s, d_table, at, run, keys, rows, width, positions):
    """Adds d_s to the gradient of what the tables end with."""
    for i in range(width):
        run[i] = 0
    for j in range(keys):
        for i in range(width):
            run[i] += d_s[j * width + i]
    for i in range(rows):
        d_table[at + i * positions + positions - 1] += run[i]


@inlined
def add_counted(s, c, table, at, keys, rows, width, positions):
    """Adds to each score its query's table between the two positions around the count; table[at] is the first query's."""
    last = positions - 1
    for j in range(keys):
        for i in range(rows):
            count = c[j * width + i]
            low = last
            part = s.dtype.type(0)
            if count < last:
                low = int(count)
                part = count - low
            below = table[at + i * positions + low]
            above = table[at + i * positions + min(low + 1, last)]
            s[j * width + i] += below + part * (above - below)


@inlined
def count_slopes(d, d_s, c, g, table, d_table, at, carry, run, keys, rows, width, positions):
    """Adds d_s to the gradient of the tables, and fills d with the gradient of what the gates are the sigmoid of."""
    last = positions - 1
    for j in range(keys):
        for i in range(rows):
            x = j * width + i
            gradient, count = d_s[x], c[x]
            d[x] = 0
            if count < last:
                low = int(count)
                part = count - low
                here = at + i * positions + low
                d_table[here] += gradient * (1 - part)
                d_table[here + 1] += gradient * part
                d[x] = gradient * (table[here + 1] - table[here])
            else:
                d_table[at + i * positions + last] += gradient
    for i in range(rows):
        run[i] = 0
    for j in range(keys):
        for i in range(rows):
            x = j * width + i
            run[i] += d[x]
            d[x] = (d.dtype.type(carry[i]) + run[i]) * g[x] * (1 - g[x])
    for i in range(rows):
        carry[i] += run[i]
