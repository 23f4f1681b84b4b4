"""Attention whose weights are a power of the scores above a threshold, backward: two passes over the keys for each tile of queries."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.chosen.keys import add_row, dot
from tinyattn.kernels.exact.scores import band, key_range, keys_of_tile
from tinyattn.kernels.rows.above import FEW, count_above, lift, lower, scores_of_tile, square_of
from tinyattn.kernels.rows.queries import read_queries, takes
from tinyattn.kernels.tiles.above import lowest_bit, scores_above
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_add, product_add_within, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import column_slope, column_weighed, pack_rows, put_rows


@inlined
def to_slopes(held, at, keys, width, square, total):
    """Replaces roots by the slopes of the weights, which are the roots, or 1 above 0; adds them up by query."""
    zero, one = held.dtype.type(0), held.dtype.type(1)
    for j in range(keys):
        into = np.uintp(at + j * width)
        for i in range(np.uintp(width)):
            root = held[into + i]
            slope = root if square or not root > zero else one
            held[into + i] = slope
            total[i] += slope


@inlined
def in_turn(counter, splits, sizes, rules, finite, square, tiles, mask, mask_at, bias, bias_at, distance, scale, q, k, v, tops, levels,
            d_out, d_q, d_k, d_v, spaces):
    """Does the tasks of `above_backward` that no other thread has taken."""
    kind_of, width, micro = q.dtype.type, sizes.q_tile, sizes.micro_columns
    head_width, value_width, tile = sizes.head_width, sizes.value_width, sizes.kv_tile * sizes.q_tile
    groups, count = sizes.heads // sizes.kv_heads, (sizes.q_len + width - 1) // width
    (held, d_held, weights, q_t, q_panels, d_q_tile, d_out_t, d_out_panels, k_panels, within, top, level, mean, total, edge, spare,
     scales, few) = spaces
    factor = kind_of(0.5 if square else 1.0)
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.kv_heads * splits:
            break
        kv_head = task // splits
        kv_at, copy_at = kv_head * sizes.kv_rows, (task % splits * sizes.batch * sizes.kv_heads + kv_head) * sizes.kv_len
        for unit in range(groups * count):
            if not takes(task % splits, unit, splits):
                continue
            head, i0 = kv_head * groups + unit // count, (count - 1 - unit % count) * width
            rows, line = min(width, sizes.q_len - i0), head * sizes.q_len + i0
            read_queries(q_t, q_panels, d_out_t, d_out_panels, q, d_out, line, rows, sizes, kind_of(rules.factor), kind_of(scale))
            for i in range(width):
                top[i] = level[i] = mean[i] = total[i] = 0
            for i in range(rows):
                top[i], level[i] = tops[line + i], levels[line + i]
            for x in range(width * head_width):
                d_q_tile[x] = 0
            low, high = key_range(i0, rows, sizes, rules)
            first = low // sizes.kv_tile
            number = max(0, (high + sizes.kv_tile - 1) // sizes.kv_tile - first)
            for n in range(number):
                j0, at = (first + n) * sizes.kv_tile, n * tile
                keys = keys_of_tile(j0, high, sizes)
                below, above = band(i0, j0, sizes, rules)
                scores_of_tile(held, at, head, i0, j0, rows, keys, q_t, k, (kv_at + j0) * head_width, sizes, rules, tiles, mask,
                               mask_at, bias, bias_at, distance)
                lower(held, at, keys, width, top, factor)
                lift(held, at, keys, width, level)
                few[n] = finite and count_above(held, at, keys, rows, width, edge) * FEW <= keys * rows
                if few[n]:
                    for j in range(keys):
                        some = scores_above(held, at + j * width, width, edge)
                        while some:
                            i = lowest_bit(some)
                            some &= some - 1
                            x, v_at = at + j * width + i, (kv_at + j0 + j) * value_width
                            root, d_weight = held[x], dot(d_out, (line + i) * value_width, v, v_at, value_width)
                            add_row(d_v, (copy_at + j0 + j) * value_width, root * root if square else root, d_out,
                                    (line + i) * value_width, value_width)
                            slope = root if square else kind_of(1)
                            held[x], d_held[x] = slope, d_weight
                            total[i] += slope
                            mean[i] += slope * d_weight
                    continue
                square_of(weights, held, at, keys * width, square)
                product_add_within(d_v, (copy_at + j0) * value_width, value_width, within, weights, 0, width, 1, d_out_panels,
                                   width * micro, keys, value_width, rows, micro, -above, -below)
                d_s = d_held[at : at + tile]
                product_set(d_s, 0, width, micro, v, (kv_at + j0) * value_width, value_width, 1, d_out_t, value_width * micro, keys,
                            width, sizes.value_dim, micro, -above, -below)
                to_slopes(held, at, keys, width, square, total)
                column_weighed(held[at : at + tile], d_s, keys, width, spare, mean)
            for i in range(width):
                mean[i] /= total[i] if total[i] != 0 else kind_of(1)
            for n in range(number):
                j0, at = (first + n) * sizes.kv_tile, n * tile
                keys = keys_of_tile(j0, high, sizes)
                below, above = band(i0, j0, sizes, rules)
                if few[n]:
                    for j in range(keys):
                        some = scores_above(held, at + j * width, width, edge)
                        while some:
                            i = lowest_bit(some)
                            some &= some - 1
                            x = at + j * width + i
                            d_score = held[x] * (d_held[x] - mean[i])
                            add_row(d_k, (copy_at + j0 + j) * head_width, d_score * kind_of(scale), q, (line + i) * head_width,
                                    head_width)
                            for c in range(0, head_width, micro):
                                add_row(d_q_tile, c * width + i * micro, d_score, k, (kv_at + j0 + j) * head_width + c, micro)
                    continue
                d_s = d_held[at : at + tile]
                column_slope(d_s, held[at : at + tile], keys, width, mean, spare)
                product_add_within(d_k, (copy_at + j0) * head_width, head_width, within, d_s, 0, width, 1, q_panels, width * micro,
                                   keys, head_width, rows, micro, -above, -below)
                pack_rows(k_panels, sizes.kv_tile, k, (kv_at + j0) * head_width, head_width, keys, kind_of(1), micro)
                product_add(d_q_tile, 0, micro, width * micro, d_s, 0, 1, width, k_panels, sizes.kv_tile * micro, rows, head_width,
                            keys, micro, below, above)
            put_rows(d_q, line * sizes.head_dim, sizes.head_dim, d_q_tile, width, rows, scales, micro)


@compiled
def above_backward(counter, taken, all_held, room, splits, sizes, rules, finite, square, tiles, mask, mask_at, bias, bias_at, distance,
                   scale, q, k, v, tops, levels, d_out, d_q, d_k, d_v):
    """Fills d_q, and adds to d_k and d_v; a task is a kv head and a split of its query tiles, with copies that the caller sums.

    With r the slopes of a row, d_s = r (d_w - sum r d_w / sum r): a first turn over the keys makes r and d_w, which are held, and adds
    to d_v, a second one adds to d_k and d_q. `all_held` has room for both kinds and every thread.
    """
    control, width, dtype = flush_small(), sizes.q_tile, q.dtype
    head_width, value_width, tile = sizes.head_width, sizes.value_width, sizes.kv_tile * width
    begin, size = next_task(taken) * 2 * room * tile, room * tile
    spaces = (all_held[begin : begin + size], all_held[begin + size : begin + 2 * size], np.zeros(tile, dtype),
              np.empty(width * head_width, dtype), np.empty(width * head_width, dtype), np.empty(width * head_width, dtype),
              np.empty(width * value_width, dtype), np.empty(width * value_width, dtype), np.empty(sizes.kv_tile * head_width, dtype),
              np.empty(width * max(head_width, value_width), dtype), np.empty(width, dtype), np.empty(width, dtype),
              np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype), np.zeros(width, dtype),
              np.full(width, dtype.type(scale)), np.empty(room, np.bool_))
    in_turn(counter, splits, sizes, rules, finite, square, tiles, mask, mask_at, bias, bias_at, distance, scale, q, k, v, tops, levels,
            d_out, d_q, d_k, d_v, spaces)
    restore(control)
