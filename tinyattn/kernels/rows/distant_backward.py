"""Attention whose scores add products with vectors of distances, backward."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.backward import dot, slope_of_cap
from tinyattn.kernels.exact.scores import band, key_range, keys_of_tile, score
from tinyattn.kernels.rows.distance_tiles import add_by_key, add_by_query, pull_block, pull_by_key, pull_row
from tinyattn.kernels.rows.skew import take_skewed
from tinyattn.kernels.rows.unpacked import product_add_rows
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_add_within, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import column_exp, column_slope, column_tanh, pack_rows, put_rows, scale_row, transpose_rows


@inlined
def in_turn(counter, splits, copies, sizes, rules, last, tiles, mask, mask_at, bias, bias_at, distance, scale, line, of_query, of_key,
            table_rows, q, placed, k, v, out, tops, totals, d_out, d_q, d_placed, d_k, d_v, delta, d_of_query, d_of_key, spaces):
    """Does the tasks of `distant_backward` that no other thread has taken."""
    kind_of, width, micro = q.dtype.type, sizes.q_tile, sizes.micro_columns
    head_width, value_width, half = sizes.head_width, sizes.value_width, sizes.kv_tile * sizes.q_tile
    groups, count = sizes.heads // sizes.kv_heads, (sizes.q_len + width - 1) // width
    (p, d_s, tanhs, q_t, placed_t, d_out_t, d_out_tile, q_panels, placed_panels, d_out_panels, k_panels, d_q_tile, d_placed_tile,
     blocks, d_blocks, picked, turned, across, found, shift, low_delta, spare, sums, weights) = spaces
    while True:
        task = next_task(counter)
        if task >= sizes.kv_heads * copies:
            break
        for unit in range(sizes.batch * splits * groups * count):
            part, turn = unit // (groups * count), unit % (groups * count)
            split, batch = part % splits, part // splits
            place = turn % (2 * splits)
            if part % copies != task % copies or min(place, 2 * splits - 1 - place) != split:
                continue
            kv_head = batch * sizes.kv_heads + task // copies
            kv_at, copy_at = kv_head * sizes.kv_rows, (split * sizes.batch * sizes.kv_heads + kv_head) * sizes.kv_len
            head, i0 = kv_head * groups + turn // count, (count - 1 - turn % count) * width
            table_at = head % sizes.heads * table_rows * head_width
            d_table_at = (task % copies * sizes.heads + head % sizes.heads) * table_rows * head_width
            rows, line_at = min(width, sizes.q_len - i0), head * sizes.q_len + i0
            q_at, d_out_at = line_at * head_width, line_at * value_width
            transpose_rows(q_t, width, q, q_at, head_width, rows, kind_of(rules.factor), sizes.lanes, micro)
            pack_rows(q_panels, width, q, q_at, head_width, rows, kind_of(scale), micro)
            if of_query.size:
                transpose_rows(placed_t, width, placed, q_at, head_width, rows, kind_of(rules.factor), sizes.lanes, micro)
                pack_rows(placed_panels, width, placed, q_at, head_width, rows, kind_of(scale), micro)
            for i in range(width):
                shift[i] = 0
                low_delta[i] = 0
            for i in range(rows):
                row = line_at + i
                exact = dot(d_out, d_out_at + i * value_width, out, row * sizes.value_dim, sizes.value_dim)
                weight = kind_of(1 / totals[row] if totals[row] != 0 else 0.0)
                delta[row], low_delta[i], weights[i] = exact, exact * weight, weight
                for e in range(0, value_width, micro):
                    scale_row(d_out_tile, i * value_width + e, d_out, d_out_at + i * value_width + e, weight)
                if tops[row] > -np.inf:
                    shift[i] = tops[row]
            transpose_rows(d_out_t, width, d_out_tile, 0, value_width, rows, kind_of(1), sizes.lanes, micro)
            pack_rows(d_out_panels, width, d_out_tile, 0, value_width, rows, kind_of(1), micro)
            for x in range(width * head_width):
                d_q_tile[x] = d_placed_tile[x] = 0
            for x in range(2 * half):
                d_blocks[x] = 0
            low_row, high_row, held = -1, -1, False
            low, high = key_range(i0, rows, sizes, rules)
            start, stop = low // sizes.kv_tile, (high + sizes.kv_tile - 1) // sizes.kv_tile
            for n in range(start, stop):
                j0 = n * sizes.kv_tile
                keys, first = keys_of_tile(j0, high, sizes), j0 - i0 + sizes.q_len - width
                below, above = band(i0, j0, sizes, rules)
                k_at, v_at, d_k_at = (kv_at + j0) * head_width, (kv_at + j0) * value_width, (copy_at + j0) * head_width
                product_set(p, 0, width, micro, k, k_at, head_width, 1, q_t, head_width * micro, keys, width, sizes.head_dim, micro,
                            -above, -below)
                if of_query.size:
                    low_row, high_row = add_by_query(p, first, last, n > start, high_row, keys, of_query, table_at, line, blocks,
                                                     picked, placed_t, sizes)
                if of_key.size:
                    add_by_key(p, first, keys, of_key, table_at, line, k, k_at, kind_of(rules.factor), across, picked, turned, sizes)
                if rules.cap:
                    column_tanh(p, keys, width, spare, spare)
                    for x in range(keys * width):
                        tanhs[x] = p[x]
                        p[x] *= kind_of(rules.cap)
                score(p, head, -1, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at, bias, bias_at, distance)
                column_exp(p, keys, width, shift, spare)
                product_add_within(d_v, (copy_at + j0) * value_width, value_width, d_out_tile, p, 0, width, 1, d_out_panels,
                                   width * micro, keys, value_width, rows, micro, -above, -below)
                product_set(d_s, 0, width, micro, v, v_at, value_width, 1, d_out_t, value_width * micro, keys, width, sizes.value_dim,
                            micro, -above, -below)
                column_slope(d_s, p, keys, width, low_delta, spare)
                if rules.cap:
                    slope_of_cap(d_s, tanhs, keys * width)
                for x in range(keys * width, half):
                    d_s[x] = 0
                product_add_within(d_k, d_k_at, head_width, k_panels, d_s, 0, width, 1, q_panels, width * micro, keys, head_width,
                                   rows, micro, -above, -below)
                product_add_rows(d_q_tile, 0, micro, width * micro, d_s, 0, 1, width, k, k_at, head_width, rows, head_width, keys,
                                 micro, below, above)
                if of_key.size:
                    pack_rows(k_panels, sizes.kv_tile, k, k_at, head_width, keys, kind_of(1), micro)
                    pull_by_key(d_s, first, keys, rows, of_key, table_at, line, k, k_at, kind_of(scale), d_k, d_k_at, d_of_key,
                                d_table_at, across, picked, turned, k_panels, found, found, sizes)
                if of_query.size:
                    one = low_row >= 0 and low_row == high_row
                    if one:
                        pull_row(d_s, keys, rows, low_row, of_query, table_at, d_of_query, d_table_at, d_placed_tile, placed, q_at,
                                 kind_of(scale), sums, sizes)
                    else:
                        take_skewed(d_s, d_blocks, sizes.kv_tile, width)
                    if held or not one:
                        pull_block(d_blocks, first, rows, of_query, table_at, line, d_of_query, d_table_at, d_placed_tile,
                                   placed_panels, picked, turned, found, sizes)
                        for x in range(half):
                            d_blocks[x], d_blocks[half + x] = d_blocks[half + x], 0
                    held = not one
                    if held and n == stop - 1 and first + sizes.kv_tile <= last:
                        pull_block(d_blocks, first + sizes.kv_tile, rows, of_query, table_at, line, d_of_query, d_table_at,
                                   d_placed_tile, placed_panels, picked, turned, found, sizes)
            for i in range(rows):
                low_delta[i] = scale
            put_rows(d_q, line_at * sizes.head_dim, sizes.head_dim, d_q_tile, width, rows, low_delta, micro)
            if of_query.size:
                put_rows(d_placed, line_at * sizes.head_dim, sizes.head_dim, d_placed_tile, width, rows, low_delta, micro)


@compiled
def distant_backward(counter, splits, copies, sizes, rules, last, tiles, mask, mask_at, bias, bias_at, distance, scale, line, of_query,
                     of_key, table_rows, q, placed, k, v, out, tops, totals, d_out, d_q, d_placed, d_k, d_v, delta,
                     d_of_query, d_of_key):
    """Fills d_q, d_placed, d_k, d_v and delta = d_out . out of every row, and adds to the gradients of the tables.

    A task is a kv head of all sequences and one of the copies of the tables' gradients; a sequence's tiles of queries are split, and
    each split has a copy of d_k and d_v. The caller sums the copies. The sums of a block of distances are done once both tiles of keys
    that read it are.
    """
    control, width, dtype = flush_small(), sizes.q_tile, q.dtype
    head_width, value_width, tile, span = sizes.head_width, sizes.value_width, sizes.kv_tile * width, sizes.kv_tile + width
    spaces = (np.zeros(tile, dtype), np.zeros(tile, dtype), np.empty(tile if rules.cap else 0, dtype),
              np.empty(width * head_width, dtype), np.empty(width * head_width, dtype),
              np.empty(width * value_width, dtype), np.empty(width * value_width, dtype),
              np.empty(width * head_width, dtype), np.empty(width * head_width, dtype), np.empty(width * value_width, dtype),
              np.empty(sizes.kv_tile * head_width, dtype), np.empty(width * head_width, dtype), np.empty(width * head_width, dtype),
              np.zeros(2 * sizes.kv_tile * width, dtype), np.zeros(2 * sizes.kv_tile * width, dtype),
              np.zeros(span * head_width, dtype),
              np.empty(span * head_width, dtype), np.zeros(sizes.kv_tile * span, dtype), np.zeros(span * head_width, dtype),
              np.empty(width, dtype), np.empty(width, dtype), np.zeros(width, dtype), np.empty(width, dtype), np.empty(width, dtype))
    in_turn(counter, splits, copies, sizes, rules, last, tiles, mask, mask_at, bias, bias_at, distance, scale, line, of_query, of_key,
            table_rows, q, placed, k, v, out, tops, totals, d_out, d_q, d_placed, d_k, d_v, delta, d_of_query, d_of_key, spaces)
    restore(control)
