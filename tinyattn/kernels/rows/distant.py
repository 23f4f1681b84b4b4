"""Attention whose scores add products with vectors of distances, forward: exact attention with more products per tile."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.scores import band, cap, key_range, keys_of_tile, score
from tinyattn.kernels.rows.distance_tiles import add_by_key, add_by_query
from tinyattn.kernels.rows.unpacked import product_add_rows
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.online import exponentials
from tinyattn.kernels.tiles.product import product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import put_rows, transpose_rows


@inlined
def in_turn(counter, sizes, rules, last, tiles, mask, mask_at, bias, bias_at, distance, sinks, line, of_query, of_key, table_rows,
            q, placed, k, v, out, tops, totals, spaces):
    """Does the tasks of `distant_forward` that no other thread has taken."""
    kind_of, width, micro = q.dtype.type, sizes.q_tile, sizes.micro_columns
    head_width, value_width = sizes.head_width, sizes.value_width
    s, q_t, placed_t, a, p, picked, turned, across, top, shift, kept, part, none, spare, total = spaces
    count = (sizes.q_len + width - 1) // width
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.heads * count:
            break
        head, i0 = task // count, (count - 1 - task % count) * width
        rows = min(width, sizes.q_len - i0)
        kv_at = head // (sizes.heads // sizes.kv_heads) * sizes.kv_rows
        table_at = head % sizes.heads * table_rows * head_width
        q_at = (head * sizes.q_len + i0) * head_width
        transpose_rows(q_t, width, q, q_at, head_width, rows, kind_of(rules.factor), sizes.lanes, micro)
        if of_query.size:
            transpose_rows(placed_t, width, placed, q_at, head_width, rows, kind_of(rules.factor), sizes.lanes, micro)
        begin, weight = kind_of(-np.inf), 0.0
        if sinks.size:
            begin, weight = sinks[head % sizes.heads], 1.0
        for i in range(width):
            top[i], total[i] = begin, weight
        for x in range(width * value_width):
            a[x] = 0
        begun, low_row = sinks.size > 0, -1
        low, high = key_range(i0, rows, sizes, rules)
        start = low // sizes.kv_tile
        for n in range(start, (high + sizes.kv_tile - 1) // sizes.kv_tile):
            j0 = n * sizes.kv_tile
            keys, first = keys_of_tile(j0, high, sizes), j0 - i0 + sizes.q_len - width
            below, above = band(i0, j0, sizes, rules)
            product_set(s, 0, width, micro, k, (kv_at + j0) * head_width, head_width, 1, q_t, head_width * micro, keys, width,
                        sizes.head_dim, micro, -above, -below)
            if of_query.size:
                _, low_row = add_by_query(s, first, last, n > start, low_row, keys, of_query, table_at, line, p, picked, placed_t,
                                          sizes)
            if of_key.size:
                add_by_key(s, first, keys, of_key, table_at, line, k, (kv_at + j0) * head_width, kind_of(rules.factor), across, picked,
                           turned, sizes)
            if rules.cap:
                cap(s, keys, sizes, rules, spare)
            score(s, head, -1, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at, bias, bias_at, distance)
            exponentials(s, keys, width, top, total, a, value_width, micro, begun, shift, kept, part, none, spare)
            begun = True
            product_add_rows(a, 0, micro, width * micro, s, 0, 1, width, v, (kv_at + j0) * value_width, value_width, rows, value_width,
                             keys, micro, below, above)
        for i in range(rows):
            row = head * sizes.q_len + i0 + i
            tops[row], totals[row] = top[i], total[i]
            kept[i] = 1 / total[i] if total[i] != 0 else 0.0
        put_rows(out, (head * sizes.q_len + i0) * sizes.value_dim, sizes.value_dim, a, width, rows, kept, micro)


@compiled
def distant_forward(counter, sizes, rules, last, tiles, mask, mask_at, bias, bias_at, distance, sinks, line, of_query, of_key,
                    table_rows, q, placed, k, v, out, tops, totals):
    """Fills out (batch, heads, q_len, value_dim), and tops, totals (batch, heads, q_len); a task is one tile of queries.

    To K Q^T are added the products of `placed`, queries too, with `of_query`, and of k with `of_key`: (heads, table_rows, head_width),
    read at line[n] for distance n, of which none after `last` is visible. A table without elements is not there.
    """
    control, width, dtype = flush_small(), sizes.q_tile, q.dtype
    tile, span, head_width = sizes.kv_tile * width, sizes.kv_tile + width, sizes.head_width
    spaces = (np.zeros(tile, dtype), np.empty(head_width * width, dtype), np.empty(head_width * width, dtype),
              np.empty(width * sizes.value_width, dtype),
              np.zeros(2 * sizes.kv_tile * width, dtype), np.zeros(span * head_width, dtype),
              np.empty(span * head_width, dtype), np.zeros(sizes.kv_tile * span, dtype),
              np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype), np.zeros(width, dtype),
              np.zeros(width, dtype), np.empty(width))
    in_turn(counter, sizes, rules, last, tiles, mask, mask_at, bias, bias_at, distance, sinks, line, of_query, of_key, table_rows,
            q, placed, k, v, out, tops, totals, spaces)
    restore(control)
