"""Attention whose heads are mixed before and after the softmax, backward: a tile of queries passes over all heads' keys twice."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.scores import band, key_range, keys_of_tile
from tinyattn.kernels.rows.mixed import mix, mixed_scores, raw_scores
from tinyattn.kernels.rows.shares import column_share
from tinyattn.kernels.rows.unpacked import product_add_rows
from tinyattn.kernels.tiles.dots import KEYS, LINES, dots
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_add_within, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import column_slope, column_weighed, pack_rows, put_rows, transpose_rows


@inlined
def add_products(total, total_at, a, a_at, b, b_at, step, heads, count, few):
    """Adds to total[g][h] the sums of the products of tiles a[g] and b[h]."""
    for g in range(0, heads, KEYS):
        for h in range(0, heads, LINES):
            dots(few, 0, LINES, b, b_at + h * step, step, a, a_at + g * step, step, count)
            for x in range(min(KEYS, heads - g)):
                for y in range(min(LINES, heads - h)):
                    total[total_at + (g + x) * heads + h + y] += few[x * LINES + y]


@inlined
def weights_of(x, at, step, i0, j0, rows, keys, batch, raw, before, matrix_row, top, share, sizes, rules, tiles, mask, mask_at, bias,
               bias_at, distance, q_t, k, spare):
    """Fills the tiles of all heads with weights, and those of `raw` with the products that they are made of."""
    width = sizes.q_tile
    raw_scores(raw, at, step, i0, j0, keys, batch, q_t, k, sizes, rules, spare)
    mixed_scores(x, at, step, i0, j0, rows, keys, batch, raw, at, before, matrix_row, sizes, rules, tiles, mask, mask_at, bias,
                 bias_at, distance)
    for h in range(sizes.heads):
        column_share(x[at + h * step : at + (h + 1) * step], keys, width, top[h * width : (h + 1) * width],
                     share[h * width : (h + 1) * width])


@inlined
def weight_slopes(d, d_at, step, i0, j0, keys, batch, spare_tiles, after, matrix_row, d_out_t, v, sizes, rules):
    """Fills the tiles of all heads with the gradients of the weights before they are mixed, and spare_tiles with those after."""
    width, micro, groups, value_width = sizes.q_tile, sizes.micro_columns, sizes.heads // sizes.kv_heads, sizes.value_width
    below, above = band(i0, j0, sizes, rules)
    first = value_width * width
    for g in range(sizes.heads):
        at = ((batch * sizes.kv_heads + g // groups) * sizes.kv_rows + j0) * value_width
        product_set(spare_tiles, g * step, width, micro, v, at, value_width, 1, d_out_t[g * first : (g + 1) * first],
                    value_width * micro, keys, width, sizes.value_dim, micro, -above, -below)
    mix(d, d_at, after, 1, matrix_row, spare_tiles, 0, step, sizes.heads, keys * width, micro)


@inlined
def in_turn(counter, splits, sizes, rules, room, matrix_row, tiles, mask, mask_at, bias, bias_at, distance, scale, before, after,
            q, k, v, tops, totals, d_out, d_q, d_k, d_v, more_k, more_v, delta, d_before, d_after, spaces):
    """Does the tasks of `mixed_backward` that no other thread has taken."""
    kind_of, width, micro = q.dtype.type, sizes.q_tile, sizes.micro_columns
    head_width, value_width = sizes.head_width, sizes.value_width
    heads, groups, count = sizes.heads, sizes.heads // sizes.kv_heads, (sizes.q_len + width - 1) // width
    step = sizes.kv_tile * width + micro
    (raw, other, held, d_held, q_t, q_panels, d_out_t, d_out_panels, d_q_tiles, top, share, spare, sums, exact, low_delta,
     within, few) = spaces
    first, value_first, nowhere = head_width * width, value_width * width, kind_of(-np.inf)
    while True:
        task = next_task(counter)
        if task >= sizes.batch * splits:
            break
        batch, matrix_at = task // splits, task * heads * heads
        into_k, into_v, copy = d_k, d_v, batch * sizes.kv_heads
        if task % splits > 0:
            into_k, into_v, copy = more_k, more_v, copy + (task % splits - 1) * sizes.batch * sizes.kv_heads
        for unit in range(count):
            turn = unit % (2 * splits)
            if min(turn, 2 * splits - 1 - turn) != task % splits:
                continue
            i0 = (count - 1 - unit) * width
            rows = min(width, sizes.q_len - i0)
            for h in range(heads):
                line = (batch * heads + h) * sizes.q_len + i0
                part_of, value_part = slice(h * first, (h + 1) * first), slice(h * value_first, (h + 1) * value_first)
                transpose_rows(q_t[part_of], width, q, line * head_width, head_width, rows, kind_of(rules.factor), sizes.lanes, micro)
                pack_rows(q_panels[part_of], width, q, line * head_width, head_width, rows, kind_of(scale), micro)
                transpose_rows(d_out_t[value_part], width, d_out, line * value_width, value_width, rows, kind_of(1), sizes.lanes,
                               micro)
                pack_rows(d_out_panels[value_part], width, d_out, line * value_width, value_width, rows, kind_of(1), micro)
                for i in range(width):
                    top[h * width + i] = share[h * width + i] = exact[h * width + i] = 0
                for i in range(rows):
                    if tops[line + i] > nowhere:
                        top[h * width + i] = tops[line + i]
                    share[h * width + i] = 1 / totals[line + i] if totals[line + i] != 0 else 0.0
            for x in range(heads * first):
                d_q_tiles[x] = 0
            low, high = key_range(i0, rows, sizes, rules)
            start, stop = low // sizes.kv_tile, (high + sizes.kv_tile - 1) // sizes.kv_tile
            for n in range(start, stop):
                j0, at = n * sizes.kv_tile, min(n - start, room) * heads * step
                keys = keys_of_tile(j0, high, sizes)
                below, above = band(i0, j0, sizes, rules)
                weights_of(held, at, step, i0, j0, rows, keys, batch, raw, before, matrix_row, top, share, sizes, rules, tiles, mask,
                           mask_at, bias, bias_at, distance, q_t, k, spare)
                mix(other, 0, after, matrix_row, 1, held, at, step, heads, keys * width, micro)
                for g in range(heads):
                    product_add_within(into_v, ((copy + g // groups) * sizes.kv_len + j0) * value_width, value_width, within, other,
                                       g * step, width, 1, d_out_panels[g * value_first : (g + 1) * value_first], width * micro,
                                       keys, value_width, rows, micro, -above, -below)
                weight_slopes(d_held, at, step, i0, j0, keys, batch, other, after, matrix_row, d_out_t, v, sizes, rules)
                add_products(d_after, matrix_at, other, 0, held, at, step, heads, keys * width, few)
                for h in range(heads):
                    for i in range(width):
                        sums[i] = 0
                    tile = slice(at + h * step, at + (h + 1) * step)
                    column_weighed(held[tile], d_held[tile], keys, width, spare, sums)
                    for i in range(width):
                        exact[h * width + i] += sums[i]
            for x in range(heads * width):
                low_delta[x] = exact[x]
            for n in range(stop - 1, start - 1, -1):  # those made last first, which are still near
                j0, slot = n * sizes.kv_tile, min(n - start, room)
                keys, at = keys_of_tile(j0, high, sizes), slot * heads * step
                below, above = band(i0, j0, sizes, rules)
                if slot == room and n < stop - 1:
                    weights_of(held, at, step, i0, j0, rows, keys, batch, raw, before, matrix_row, top, share, sizes, rules, tiles,
                               mask, mask_at, bias, bias_at, distance, q_t, k, spare)
                    weight_slopes(d_held, at, step, i0, j0, keys, batch, other, after, matrix_row, d_out_t, v, sizes, rules)
                for h in range(heads):
                    tile = slice(at + h * step, at + (h + 1) * step)
                    column_slope(d_held[tile], held[tile], keys, width, low_delta[h * width : (h + 1) * width], spare)
                add_products(d_before, matrix_at, d_held, at, raw, at, step, heads, keys * width, few)
                mix(other, 0, before, 1, matrix_row, d_held, at, step, heads, keys * width, micro)
                if rules.cap:
                    one, by = kind_of(1), kind_of(1 / rules.cap)
                    for h in range(heads):
                        for x in range(h * step, h * step + keys * width):
                            other[x] *= one - (raw[at + x] * by) * (raw[at + x] * by)
                for h in range(heads):
                    part_of, copy_at = slice(h * first, (h + 1) * first), ((copy + h // groups) * sizes.kv_len + j0) * head_width
                    product_add_within(into_k, copy_at, head_width, within, other, h * step, width, 1, q_panels[part_of],
                                       width * micro, keys, head_width, rows, micro, -above, -below)
                    k_at = ((batch * sizes.kv_heads + h // groups) * sizes.kv_rows + j0) * head_width
                    product_add_rows(d_q_tiles, h * first, micro, width * micro, other, h * step, 1, width, k, k_at, head_width, rows,
                                     head_width, keys, micro, below, above)
            for h in range(heads):
                line = (batch * heads + h) * sizes.q_len + i0
                for i in range(width):
                    sums[i] = scale
                for i in range(rows):
                    delta[line + i] = exact[h * width + i]
                put_rows(d_q, line * sizes.head_dim, sizes.head_dim, d_q_tiles[h * first : (h + 1) * first], width, rows, sums, micro)


@compiled
def mixed_backward(counter, taken, all_held, splits, sizes, rules, room, matrix_row, tiles, mask, mask_at, bias, bias_at,
                   distance, scale, before, after, q, k, v, tops, totals, d_out, d_q, d_k, d_v, more_k, more_v, delta, d_before,
                   d_after):
    """Fills d_q, d_k, d_v and delta, the sum of each row's weights times their gradients; adds to those of the two matrices.

    A task is a sequence and a split of its query tiles: it owns their d_q, and copies of all other gradients, which the caller sums.
    The first split adds to d_k and d_v themselves, the others to `more_k` and `more_v`.
    A first turn over the keys makes P_g and the mixed weights A = after P, adds A^T dO to dV, and makes dA = V dO^T, dP = after^T dA,
    d_after += dA P^T and delta; the second makes dX = P (dP - delta), d_before += dX C^T, dC = before^T dX, dK and dQ. C, P and dP of
    the first `room` tiles of keys are held between the two, and those of the others are made again.
    """
    control, width, dtype, heads = flush_small(), sizes.q_tile, q.dtype, sizes.heads
    step = sizes.kv_tile * width + sizes.micro_columns
    tiles_of_all, size = matrix_row * step, (room * heads + matrix_row) * step
    begin = next_task(taken) * 3 * size
    first, value_first = heads * sizes.head_width * width, heads * sizes.value_width * width
    spaces = (all_held[begin + 2 * size : begin + 3 * size], np.zeros(tiles_of_all, dtype), all_held[begin : begin + size],
              all_held[begin + size : begin + 2 * size],
              np.empty(first, dtype), np.empty(first, dtype), np.empty(value_first, dtype), np.empty(value_first, dtype),
              np.empty(first, dtype), np.empty(heads * width, dtype), np.empty(heads * width, dtype), np.zeros(width, dtype),
              np.empty(width, dtype), np.empty(heads * width), np.empty(heads * width, dtype),
              np.empty(width * max(sizes.head_width, sizes.value_width), dtype), np.empty(KEYS * LINES, dtype))
    in_turn(counter, splits, sizes, rules, room, matrix_row, tiles, mask, mask_at, bias, bias_at, distance, scale, before, after,
            q, k, v, tops, totals, d_out, d_q, d_k, d_v, more_k, more_v, delta, d_before, d_after, spaces)
    restore(control)
