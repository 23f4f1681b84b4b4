"""Attention whose heads are mixed before and after the softmax, forward: a tile of queries passes over all heads' keys twice."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.scores import band, cap, key_range, keys_of_tile, score
from tinyattn.kernels.rows.unpacked import product_add_rows
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import micro_set, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import column_exp, column_max, put_rows, transpose_rows


@inlined
def mix(c, c_at, matrix, row, column, b, b_at, step, heads, count, micro):
    """Fills the tiles c[g], up to a whole micro tile of them, with sum_h matrix[g row + h column] b[h]; tiles stand `step` apart."""
    for x in range(0, count, micro):
        for g in range(0, heads, ROWS):
            micro_set(c, c_at + g * step + x, step, matrix, g * row, row, column, b, b_at + x, step, heads)


@inlined
def times_rows(s, at, keys, width, factors):
    """Multiplies each column of a tile by a factor."""
    for j in range(keys):
        into = np.uintp(at + j * width)
        for i in range(np.uintp(width)):
            s[into + i] *= factors[i]


@inlined
def raw_scores(raw, raw_at, step, i0, j0, keys, batch, q_t, k, sizes, rules, spare):
    """Fills the tiles of all heads with capped products."""
    width, micro, groups = sizes.q_tile, sizes.micro_columns, sizes.heads // sizes.kv_heads
    first, at = sizes.head_width * width, j0 * sizes.head_width
    below, above = band(i0, j0, sizes, rules)
    for h in range(sizes.heads):
        k_at = (batch * sizes.kv_heads + h // groups) * sizes.kv_rows * sizes.head_width + at
        product_set(raw, raw_at + h * step, width, micro, k, k_at, sizes.head_width, 1, q_t[h * first : (h + 1) * first],
                    sizes.head_width * micro, keys, width, sizes.head_dim, micro, -above, -below)
        if rules.cap:
            cap(raw[raw_at + h * step : raw_at + (h + 1) * step], keys, sizes, rules, spare)


@inlined
def mixed_scores(x, x_at, step, i0, j0, rows, keys, batch, raw, raw_at, before, matrix_row, sizes, rules, tiles, mask, mask_at, bias,
                 bias_at, distance):
    """Fills the tiles of all heads with mixed scores, -inf where unseen."""
    mix(x, x_at, before, matrix_row, 1, raw, raw_at, step, sizes.heads, keys * sizes.q_tile, sizes.micro_columns)
    for h in range(sizes.heads):
        score(x[x_at + h * step : x_at + (h + 1) * step], batch * sizes.heads + h, -1, i0, j0, rows, keys, sizes, rules, tiles, mask,
              mask_at, bias, bias_at, distance)


@inlined
def in_turn(counter, sizes, rules, room, matrix_row, tiles, mask, mask_at, bias, bias_at, distance, sinks, before, after,
            q, k, v, out, tops, totals, spaces):
    """Does the tasks of `mixed_forward` that no other thread has taken."""
    kind_of, width, micro = q.dtype.type, sizes.q_tile, sizes.micro_columns
    heads, groups, count = sizes.heads, sizes.heads // sizes.kv_heads, (sizes.q_len + width - 1) // width
    step = sizes.kv_tile * width + micro  # not a power of two, for which the tiles of all heads would fall into the same cache sets
    raw, held, q_t, a, top, at, total, shift, kept, part, none, spare = spaces
    first, value_first = sizes.head_width * width, sizes.value_width * width
    nowhere = kind_of(-np.inf)
    while True:
        task = next_task(counter)
        if task >= sizes.batch * count:
            break
        batch, i0 = task // count, (count - 1 - task % count) * width
        rows = min(width, sizes.q_len - i0)
        for h in range(heads):
            transpose_rows(q_t[h * first : (h + 1) * first], width, q, ((batch * heads + h) * sizes.q_len + i0) * sizes.head_width,
                           sizes.head_width, rows, kind_of(rules.factor), sizes.lanes, micro)
            for i in range(width):
                top[h * width + i] = sinks[h] if sinks.size else nowhere
                total[h * width + i] = 1.0 if sinks.size else 0.0
        for x in range(heads * value_first):
            a[x] = 0
        low, high = key_range(i0, rows, sizes, rules)
        start, stop = low // sizes.kv_tile, (high + sizes.kv_tile - 1) // sizes.kv_tile
        for n in range(start, stop):
            j0, slot = n * sizes.kv_tile, min(n - start, room)
            keys = keys_of_tile(j0, high, sizes)
            x_at = slot * heads * step
            raw_scores(raw, 0, step, i0, j0, keys, batch, q_t, k, sizes, rules, spare)
            mixed_scores(held, x_at, step, i0, j0, rows, keys, batch, raw, 0, before, matrix_row, sizes, rules, tiles, mask, mask_at,
                         bias, bias_at, distance)
            for h in range(heads):
                line, s = top[h * width : (h + 1) * width], held[x_at + h * step : x_at + (h + 1) * step]
                for i in range(width):
                    kept[i] = line[i]
                column_max(s, keys, width, line, line)
                for i in range(width):
                    shift[i] = line[i] if line[i] > nowhere else kind_of(0)
                    kept[i] -= shift[i]
                    part[i] = 0
                    at[(slot * heads + h) * width + i] = shift[i]
                column_exp(kept, 1, width, none, spare)
                column_exp(s, keys, width, shift, part)
                for i in range(width):
                    total[h * width + i] = total[h * width + i] * kept[i] + part[i]
        for n in range(stop - 1, start - 1, -1):  # those made last first, which are still near
            j0, slot = n * sizes.kv_tile, min(n - start, room)
            keys = keys_of_tile(j0, high, sizes)
            x_at = slot * heads * step
            if slot == room:
                raw_scores(raw, 0, step, i0, j0, keys, batch, q_t, k, sizes, rules, spare)
                mixed_scores(held, x_at, step, i0, j0, rows, keys, batch, raw, 0, before, matrix_row, sizes, rules, tiles, mask,
                             mask_at, bias, bias_at, distance)
            for h in range(heads):
                for i in range(width):
                    x = h * width + i
                    shift[i] = top[x] if top[x] > nowhere else kind_of(0)
                    part[i] = 0
                if slot == room:
                    column_exp(held[x_at + h * step : x_at + (h + 1) * step], keys, width, shift, part)
                    for i in range(width):
                        kept[i] = 1
                else:
                    for i in range(width):
                        kept[i] = at[(slot * heads + h) * width + i] - shift[i]
                    column_exp(kept, 1, width, none, spare)
                for i in range(width):
                    whole = total[h * width + i]
                    kept[i] *= kind_of(1 / whole if whole != 0 else 0.0)
                times_rows(held, x_at + h * step, keys, width, kept)
            below, above = band(i0, j0, sizes, rules)
            mix(raw, 0, after, matrix_row, 1, held, x_at, step, heads, keys * width, micro)
            for h in range(heads):
                v_at = ((batch * sizes.kv_heads + h // groups) * sizes.kv_rows + j0) * sizes.value_width
                product_add_rows(a, h * value_first, micro, width * micro, raw, h * step, 1, width, v, v_at, sizes.value_width, rows,
                                 sizes.value_width, keys, micro, below, above)
        for h in range(heads):
            for i in range(rows):
                row = (batch * heads + h) * sizes.q_len + i0 + i
                tops[row], totals[row] = top[h * width + i], total[h * width + i]
                kept[i] = 1
            put_rows(out, ((batch * heads + h) * sizes.q_len + i0) * sizes.value_dim, sizes.value_dim,
                     a[h * value_first : (h + 1) * value_first], width, rows, kept, micro)


@compiled
def mixed_forward(counter, taken, all_held, sizes, rules, room, matrix_row, tiles, mask, mask_at, bias, bias_at, distance, sinks,
                  before, after, q, k, v, out, tops, totals):
    """Fills out (batch, heads, q_len, value_dim), and tops, totals (batch, heads, q_len); a task is one tile of queries, of all heads.

    A first turn over the keys makes C_h = K_h Q_h^T, X_g = sum_h before_gh C_h and exp(X_g - m_g), m_g the largest of the row so far;
    a second one divides by the row's sum, mixes by `after`, and adds products with the values. The first `room` tiles of keys are
    held between the two, and the others are made again. Matrices have `matrix_row` rows, a whole number of micro tiles, and so many
    tiles are written at a time: those after the last head are written over by the next ones that are held. `all_held` has room for
    every thread, of which `taken` counts those that have begun.
    """
    control, width, dtype, heads = flush_small(), sizes.q_tile, q.dtype, sizes.heads
    step = sizes.kv_tile * width + sizes.micro_columns
    size = (room * heads + matrix_row) * step
    begin = next_task(taken) * size
    spaces = (np.zeros(matrix_row * step, dtype), all_held[begin : begin + size],
              np.empty(heads * sizes.head_width * width, dtype), np.empty(heads * sizes.value_width * width, dtype),
              np.empty(heads * width, dtype),
              np.empty((room + 1) * heads * width, dtype), np.empty(heads * width), np.empty(width, dtype), np.empty(width, dtype),
              np.empty(width, dtype), np.zeros(width, dtype), np.zeros(width, dtype))
    in_turn(counter, sizes, rules, room, matrix_row, tiles, mask, mask_at, bias, bias_at, distance, sinks, before, after,
            q, k, v, out, tops, totals, spaces)
    restore(control)
