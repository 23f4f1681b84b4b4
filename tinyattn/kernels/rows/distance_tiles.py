"""Products of queries and keys with vectors of their distance, on one tile: what they add to its scores, and what they get back.

Distance n of a call is that of all pairs with j - i + q_len - 1 = n, and reads row line[n] of a table. A tile [key][query] has
kv_tile + q_tile - 1 of them, from the last query's first key on. Those of a query and a distance are made for kv_tile distances at a
time, of which the next tile of keys reads the later half again. Tiles whose pairs all read one row, as those beyond the greatest
distance do, add one number per query or key.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.chosen.keys import dot
from tinyattn.kernels.exact.scores import add_row
from tinyattn.kernels.rows.skew import add_skewed
from tinyattn.kernels.rows.unpacked import product_add_rows
from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.product import product_add, product_add_within, product_set
from tinyattn.kernels.tiles.seen import UNBOUNDED
from tinyattn.kernels.tiles.vector import pack_rows, transpose_rows


@inlined
def row_at(line, n):
    """Returns the row of a distance; a distance past either end of the line reads the row of the nearest one on it."""
    return line[min(max(n, 0), line.size - 1)]


@inlined
def one_row(line, n, count):
    """Returns the row that all of some distances read, -1 if they read several."""
    row = row_at(line, n)
    for x in range(1, count):
        if row_at(line, n + x) != row:
            return -1
    return row


@inlined
def run_of(line, n, count):
    """Returns the row of the first of some distances and the step, 1 or -1, from each row to the next; (-1, 0) of other rows."""
    if n < 0 or n + count > line.size or count < 2:
        return -1, 0
    step = line[n + 1] - line[n]
    for x in range(1, count):
        if line[n + x] - line[n + x - 1] != step:
            return -1, 0
    return (line[n], step) if abs(step) == 1 else (-1, 0)


@inlined
def pick(picked, table, table_at, line, n, step, count, width):
    """Fills rows of `picked` with those of the table at the distances n, n + step, ..."""
    for x in range(count):
        into, out_of = np.uintp(x * width), np.uintp(table_at + row_at(line, n + x * step) * width)
        for c in range(np.uintp(width)):
            picked[into + c] = table[out_of + c]


@inlined
def fill_block(p, p_at, n, table, table_at, line, picked, q_t, sizes):
    """Fills the products [distance][query] of kv_tile distances from n on, and returns the one row that they read, or -1."""
    width, head_width, micro, count = sizes.q_tile, sizes.head_width, sizes.micro_columns, sizes.kv_tile
    first, step = run_of(line, n, count)
    if step != 0:
        product_set(p, p_at, width, micro, table, table_at + first * head_width, step * head_width, 1, q_t, head_width * micro, count,
                    width, sizes.head_dim, micro, -UNBOUNDED, UNBOUNDED)
        return -1
    row = one_row(line, n, count)
    some = count if row < 0 else 1
    pick(picked, table, table_at, line, n, 1, some, head_width)
    product_set(p, p_at, width, micro, picked, 0, head_width, 1, q_t, head_width * micro, some, width, sizes.head_dim, micro,
                -UNBOUNDED, UNBOUNDED)
    for x in range(width, width * (count if row >= 0 else 0), width):
        for i in range(width):
            p[p_at + x + i] = p[p_at + i]
    return row


@inlined
def add_by_query(s, n, last, begun, low_row, keys, table, table_at, line, p, picked, q_t, sizes):
    """Adds to a tile the products of its queries with the rows of their distances, the first of which is n.

    `last` is the last distance of a visible pair, and `begun` says that the tile before ended where this one begins. Returns the rows
    of the two blocks of distances, or -1.
    """
    width, half = sizes.q_tile, sizes.kv_tile * sizes.q_tile
    if begun:
        for x in range(half):
            p[x] = p[half + x]
    else:
        low_row = fill_block(p, 0, n, table, table_at, line, picked, q_t, sizes)
    high_row = -1
    if n + sizes.kv_tile <= last:
        high_row = fill_block(p, half, n + sizes.kv_tile, table, table_at, line, picked, q_t, sizes)
    else:
        for x in range(half):
            p[half + x] = 0
    if low_row >= 0 and low_row == high_row:
        for j in range(keys):
            add_row(s, j * width, p, 0, width)
    else:
        add_skewed(s, p, sizes.kv_tile, width)
    return low_row, high_row


@inlined
def add_by_key(s, n, keys, table, table_at, line, k, k_at, factor, across, picked, turned, sizes):
    """Adds to a tile factor times the products of its keys with the rows of their distances, the first of which is n."""
    width, head_width, micro = sizes.q_tile, sizes.head_width, sizes.micro_columns
    span = sizes.kv_tile + width
    row = one_row(line, n, span - 1)
    if row >= 0:
        for j in range(keys):
            more, into = factor * dot(k, k_at + j * head_width, table, table_at + row * head_width, head_width), np.uintp(j * width)
            for i in range(np.uintp(width)):
                s[into + i] += more
        return
    # The farthest first: those of one key and all queries then stand side by side.
    pick(picked, table, table_at, line, n + span - 2, -1, span, head_width)
    transpose_rows(turned, span, picked, 0, head_width, span, factor, sizes.lanes, micro)
    product_set(across, 0, span, micro, k, k_at, head_width, 1, turned, head_width * micro, keys, span, sizes.head_dim, micro,
                -UNBOUNDED, UNBOUNDED)
    for j in range(keys):
        add_row(s, j * width, across, j * span + sizes.kv_tile - 1 - j, width)


@inlined
def add_times(target, at, factor, source, source_at, count):
    """Adds factor times `count` neighbours to as many others."""
    into, out_of = np.uintp(at), np.uintp(source_at)
    for c in range(np.uintp(count)):
        target[into + c] += factor * source[out_of + c]


@inlined
def pull_by_key(d_s, n, keys, rows, table, table_at, line, k, k_at, scale, d_k, d_k_at, d_table, d_table_at, across, picked, panels,
                k_panels, within, found, sizes):
    """Adds what a tile's d_s gives to the gradients of its keys and of the rows of their distances."""
    width, head_width, micro = sizes.q_tile, sizes.head_width, sizes.micro_columns
    span = sizes.kv_tile + width
    row = one_row(line, n, span - 1)
    if row >= 0:
        for j in range(keys):
            total = d_s.dtype.type(0)
            for i in range(rows):
                total += d_s[j * width + i]
            total *= scale
            add_times(d_k, d_k_at + j * head_width, total, table, table_at + row * head_width, head_width)
            add_times(d_table, d_table_at + row * head_width, total, k, k_at + j * head_width, head_width)
        return
    for j in range(keys):
        for x in range(span):
            across[j * span + x] = 0
        add_times(across, j * span + sizes.kv_tile - 1 - j, scale, d_s, j * width, rows)
    pick(picked, table, table_at, line, n + span - 2, -1, span, head_width)
    pack_rows(panels, span, picked, 0, head_width, span, d_s.dtype.type(1), micro)
    product_add_within(d_k, d_k_at, head_width, within, across, 0, span, 1, panels, span * micro, keys, head_width, span, micro,
                       -UNBOUNDED, UNBOUNDED)
    product_set(found, 0, head_width, micro, across, 0, 1, span, k_panels, sizes.kv_tile * micro, span, head_width, keys, micro,
                -UNBOUNDED, UNBOUNDED)
    for x in range(span - 1):
        add_row(d_table, d_table_at + row_at(line, n + span - 2 - x) * head_width, found, x * head_width, head_width)


@inlined
def pull_block(d_p, n, rows, table, table_at, line, d_table, d_table_at, d_q_tile, q_panels, picked, panels, found, sizes):
    """Adds what the gradients [distance][query] of kv_tile distances give to those of queries and of the rows that they read."""
    width, head_width, micro, count = sizes.q_tile, sizes.head_width, sizes.micro_columns, sizes.kv_tile
    first, step = run_of(line, n, count)
    if step != 0:
        row, move = first * head_width, step * head_width
        product_add_rows(d_q_tile, 0, micro, width * micro, d_p, 0, 1, width, table, table_at + row, move, rows, head_width, count,
                         micro, -UNBOUNDED, UNBOUNDED)
        product_add(d_table, d_table_at + row, move, micro, d_p, 0, width, 1, q_panels, width * micro, count, head_width, rows, micro,
                    -UNBOUNDED, UNBOUNDED)
        return
    pick(picked, table, table_at, line, n, 1, count, head_width)
    pack_rows(panels, count, picked, 0, head_width, count, d_p.dtype.type(1), micro)
    product_add(d_q_tile, 0, micro, width * micro, d_p, 0, 1, width, panels, count * micro, rows, head_width, count, micro,
                -UNBOUNDED, UNBOUNDED)
    product_set(found, 0, head_width, micro, d_p, 0, width, 1, q_panels, width * micro, count, head_width, rows, micro,
                -UNBOUNDED, UNBOUNDED)
    for x in range(count):
        add_row(d_table, d_table_at + row_at(line, n + x) * head_width, found, x * head_width, head_width)


@inlined
def pull_row(d_s, keys, rows, row, table, table_at, d_table, d_table_at, d_q_tile, q, q_at, scale, sums, sizes):
    """Adds the same for a tile whose pairs all read one row."""
    width, head_width, micro = sizes.q_tile, sizes.head_width, sizes.micro_columns
    for i in range(width):
        sums[i] = 0
    for j in range(keys):
        add_row(sums, 0, d_s, j * width, width)
    for i in range(rows):
        for c in range(0, head_width, micro):
            add_times(d_q_tile, c * width + i * micro, sums[i], table, table_at + row * head_width + c, micro)
        add_times(d_table, d_table_at + row * head_width, sums[i] * scale, q, q_at + i * head_width, head_width)
