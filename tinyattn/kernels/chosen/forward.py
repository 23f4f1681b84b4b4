"""Attention to chosen blocks forward: for each block the rows that chose it, with an online softmax per row."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.chosen.gather import gather, hide, positions, rows_by_block
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import product_add, product_set
from tinyattn.kernels.tiles.seen import UNBOUNDED
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import column_exp, column_max, pack_rows, put_row, scale_row, transpose_rows


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
                low, high = positions(places, members, start, rows, sizes)
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
                for j0 in range(b * parts.block, end, sizes.kv_tile):
                    there = min(sizes.kv_tile, end - j0)
                    keys = (there + ROWS - 1) // ROWS * ROWS
                    at = kv_head * sizes.kv_rows + j0
                    product_set(s, 0, width, micro, k, at * head_width, head_width, 1, q_t, head_width * micro, keys, width,
                                sizes.head_dim, micro, -UNBOUNDED, UNBOUNDED)
                    hide(s, j0, there, keys, rows, width, low, places)
                    for i in range(width):
                        kept[i] = top[i]
                    column_max(s, keys, width, top, top)
                    risen = False
                    for i in range(width):
                        shift[i] = top[i] if top[i] > nowhere else kind_of(0)  # exp(-inf - -inf) would be NaN
                        risen |= kept[i] != top[i]
                        kept[i] -= shift[i]
                    if risen:
                        column_exp(kept, 1, width, none, spare)
                        for i in range(width):
                            total[i] *= kept[i]
                        for i in range(width):
                            if kept[i] != 1:
                                for panel in range(i * micro, width * value_width, width * micro):
                                    scale_row(a, panel, a, panel, kept[i])
                    for i in range(width):
                        part[i] = 0
                    column_exp(s, keys, width, shift, part)
                    for i in range(width):
                        total[i] += part[i]
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
