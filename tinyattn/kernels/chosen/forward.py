"""Attention to chosen blocks forward: for each block the rows that chose it, with an online softmax per row."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.chosen.gather import first_key, gather, positions, rows_by_block, scores_of_block
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.online import exponentials
from tinyattn.kernels.tiles.product import product_add
from tinyattn.kernels.tiles.seen import UNBOUNDED
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_row, transpose_rows


@compiled
def forward(counter, sizes, parts, scale, picks, q, k, v, out, tops, totals):
    """Fills out (batch, heads, q_len, value_dim), tops and totals (batch, heads, q_len); a task is a part of a kv head's rows.

    A task goes through the blocks in order. The rows that chose a block are gathered, tile by tile, with what their softmax
    holds so far: the top, the total and the sum of values of each row.
    """
    kind_of = q.dtype.type
    nowhere, one = kind_of(-np.inf), kind_of(1)
    tile, head_width, value_width, micro = sizes.q_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    s = np.empty(sizes.kv_tile * tile, q.dtype)
    q_rows, q_t = np.empty(head_width * tile, q.dtype), np.empty(head_width * tile, q.dtype)
    a, v_panels = np.empty(tile * value_width, q.dtype), np.empty(sizes.kv_tile * value_width, q.dtype)
    top, shift, kept = np.empty(tile, q.dtype), np.empty(tile, q.dtype), np.empty(tile, q.dtype)
    part, none, spare = np.empty(tile, q.dtype), np.zeros(tile, q.dtype), np.zeros(tile, q.dtype)
    total, places = np.empty(tile), np.empty(tile, np.int64)
    sums, all_tops, all_totals = np.empty(parts.part * value_width, q.dtype), np.empty(parts.part, q.dtype), np.empty(parts.part)
    begins, cursor = np.empty(parts.blocks + 1, np.int64), np.empty(parts.blocks + 1, np.int64)
    members = np.empty(parts.part * parts.keep, np.int64)
    pieces = (parts.rows + parts.part - 1) // parts.part
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.kv_heads * pieces:
            break
        kv_head, first = task // pieces, task % pieces * parts.part
        count = min(parts.part, parts.rows - first)
        rows_by_block(picks, kv_head, first, count, parts, begins, cursor, members)
        for x in range(count * value_width):
            sums[x] = 0
        for row in range(count):
            all_tops[row] = nowhere
            all_totals[row] = 0
        for b in range(parts.blocks):
            for start in range(begins[b], begins[b + 1], tile):
                rows = min(tile, begins[b + 1] - start)
                width = (rows + micro - 1) // micro * micro
                low, high = positions(places, members, start, rows, parts, sizes.q_len)
                for i in range(rows):
                    row = members[start + i]
                    gather(q_rows, i * head_width, micro, q, kv_head * parts.rows + row, head_width, head_width, one, micro)
                    gather(a, i * micro, width * micro, sums, row - first, value_width, value_width, one, micro)
                    top[i], total[i] = all_tops[row - first], all_totals[row - first]
                for i in range(rows, width):
                    top[i] = 0
                    total[i] = 0
                    for x in range(i * micro, width * value_width, width * micro):
                        for y in range(micro):
                            a[x + y] = 0
                transpose_rows(q_t, width, q_rows, 0, head_width, rows, kind_of(scale), sizes.lanes, micro)
                end = min(b * parts.block + parts.block, high + 1)
                for j0 in range(first_key(b, low, parts), end, sizes.kv_tile):
                    there = min(sizes.kv_tile, end - j0)
                    keys = (there + ROWS - 1) // ROWS * ROWS
                    at = kv_head * sizes.kv_rows + j0
                    scores_of_block(s, q_t, k, at, j0, there, keys, rows, width, low, high, places, sizes, parts)
                    exponentials(s, keys, width, top, total, a, value_width, micro, there > 0, shift, kept, part, none, spare)
                    pack_rows(v_panels, sizes.kv_tile, v, at * value_width, value_width, there, one, micro)
                    product_add(a, 0, micro, width * micro, s, 0, 1, width, v_panels, sizes.kv_tile * micro, width, value_width,
                                there, micro, -UNBOUNDED, UNBOUNDED)
                for i in range(rows):
                    row = members[start + i] - first
                    put_row(sums, row * value_width, value_width, a, i * micro, width * micro, one, micro)
                    all_tops[row], all_totals[row] = top[i], total[i]
        for r in range(count):
            row, mass = kv_head * parts.rows + first + r, all_totals[r]
            put_row(out, row * sizes.value_dim, sizes.value_dim, sums, r * value_width, micro,
                    kind_of(1 / mass if mass != 0 else 0.0), micro)
            tops[row], totals[row] = all_tops[r], mass
