"""Attention to chosen blocks backward: weights recomputed from each row's top and total, five products per tile of gathered rows."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.chosen.gather import first_key, gather, positions, rows_by_block, scores_of_block
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import product_add, product_set
from tinyattn.kernels.tiles.seen import UNBOUNDED
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import column_exp, column_slope, pack_rows, put_row, transpose_rows


@compiled
def backward(counter, splits, sizes, parts, scale, picks, q, k, v, tops, totals, factors, slopes, d_out, d_q, d_k, d_v):
    """Adds to d_q, d_k and d_v; a task is a kv head and every `splits`-th part of its rows.

    d_out is the gradient of `factors` times out, row by row, and slopes are the products of its rows with those of out.

    A task owns the d_q of its rows and a copy of d_k and d_v, which the caller sums. The products are those of the exact
    backward; d_out and delta are divided by each row's total beforehand.
    """
    kind_of = q.dtype.type
    one = kind_of(1)
    tile, head_width, value_width, micro = sizes.q_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    p, d_s = np.zeros(sizes.kv_tile * tile, q.dtype), np.zeros(sizes.kv_tile * tile, q.dtype)
    q_rows, q_t = np.empty(head_width * tile, q.dtype), np.empty(head_width * tile, q.dtype)
    q_panels = np.empty(head_width * tile, q.dtype)
    d_out_rows, d_out_t = np.empty(value_width * tile, q.dtype), np.empty(value_width * tile, q.dtype)
    d_out_panels = np.empty(value_width * tile, q.dtype)
    k_panels, d_q_tile = np.empty(sizes.kv_tile * head_width, q.dtype), np.zeros(tile * head_width, q.dtype)
    shift, low_delta, spare = np.empty(tile, q.dtype), np.empty(tile, q.dtype), np.zeros(tile, q.dtype)
    places, weights, deltas = np.empty(tile, np.int64), np.empty(parts.part, q.dtype), np.empty(parts.part, q.dtype)
    begins, cursor = np.empty(parts.blocks + 1, np.int64), np.empty(parts.blocks + 1, np.int64)
    members = np.empty(parts.part * parts.keep, np.int64)
    pieces = (parts.rows + parts.part - 1) // parts.part
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.kv_heads * splits:
            break
        kv_head = task // splits
        copy_at = (task % splits * sizes.batch * sizes.kv_heads + kv_head) * sizes.kv_rows
        for piece in range(task % splits, pieces, splits):
            first = piece * parts.part
            count = min(parts.part, parts.rows - first)
            rows_by_block(picks, kv_head, first, count, parts, begins, cursor, members)
            for r in range(count):
                row = kv_head * parts.rows + first + r
                weights[r] = kind_of(1 / totals[row] if totals[row] != 0 else 0.0) * factors[row]
                deltas[r] = slopes[row] * weights[r]
            for b in range(parts.blocks):
                for start in range(begins[b], begins[b + 1], tile):
                    rows = min(tile, begins[b + 1] - start)
                    width = (rows + micro - 1) // micro * micro
                    low, high = positions(places, members, start, rows, parts, sizes.q_len)
                    for i in range(rows):
                        r = members[start + i] - first
                        row = kv_head * parts.rows + first + r
                        gather(q_rows, i * head_width, micro, q, row, head_width, head_width, one, micro)
                        gather(d_out_rows, i * value_width, micro, d_out, row, value_width, value_width, weights[r], micro)
                        gather(d_q_tile, i * micro, width * micro, d_q, row, head_width, head_width, one, micro)
                        shift[i] = tops[row] if tops[row] > -np.inf else kind_of(0)
                        low_delta[i] = deltas[r]
                    for i in range(rows, width):
                        shift[i] = 0
                        low_delta[i] = 0
                    transpose_rows(q_t, width, q_rows, 0, head_width, rows, kind_of(scale), sizes.lanes, micro)
                    pack_rows(q_panels, width, q_rows, 0, head_width, rows, kind_of(scale), micro)
                    transpose_rows(d_out_t, width, d_out_rows, 0, value_width, rows, one, sizes.lanes, micro)
                    pack_rows(d_out_panels, width, d_out_rows, 0, value_width, rows, one, micro)
                    end = min(b * parts.block + parts.block, high + 1)
                    for j0 in range(first_key(b, low, parts), end, sizes.kv_tile):
                        there = min(sizes.kv_tile, end - j0)
                        keys = (there + ROWS - 1) // ROWS * ROWS
                        at = kv_head * sizes.kv_rows + j0
                        scores_of_block(p, q_t, k, at, j0, there, keys, rows, width, low, high, places, sizes, parts)
                        column_exp(p, keys, width, shift, spare)
                        product_add(d_v, (copy_at + j0) * value_width, value_width, micro, p, 0, width, 1, d_out_panels, width * micro,
                                    keys, value_width, rows, micro, -UNBOUNDED, UNBOUNDED)
                        product_set(d_s, 0, width, micro, v, at * value_width, value_width, 1, d_out_t, value_width * micro, keys,
                                    width, sizes.value_dim, micro, -UNBOUNDED, UNBOUNDED)
                        column_slope(d_s, p, there, width, low_delta, spare)
                        for x in range(there * width, keys * width):  # keys of the next block, which may be NaN
                            d_s[x] = 0
                        product_add(d_k, (copy_at + j0) * head_width, head_width, micro, d_s, 0, width, 1, q_panels, width * micro,
                                    keys, head_width, rows, micro, -UNBOUNDED, UNBOUNDED)
                        pack_rows(k_panels, sizes.kv_tile, k, at * head_width, head_width, there, kind_of(scale), micro)
                        product_add(d_q_tile, 0, micro, width * micro, d_s, 0, 1, width, k_panels, sizes.kv_tile * micro, width,
                                    head_width, there, micro, -UNBOUNDED, UNBOUNDED)
                    for i in range(rows):
                        row = kv_head * parts.rows + members[start + i]
                        put_row(d_q, row * head_width, head_width, d_q_tile, i * micro, width * micro, one, micro)
