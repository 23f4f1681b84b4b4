"""Exact attention backward: weights recomputed tile by tile from each row's largest score and total, five products per tile."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.counted import add_ends, count_from_left, end_slopes, extended, table_rows, table_slopes
from tinyattn.kernels.exact.gates import column_between, column_slopes
from tinyattn.kernels.exact.scores import add_row, distance_at, hide, key_range, keys_of_tile, score, tile_at, tiles_of
from tinyattn.kernels.rules.tiles import call_rule, call_slopes, stand_at
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined, reassociated
from tinyattn.kernels.tiles.product import product_add, product_add_within, product_set
from tinyattn.kernels.tiles.seen import UNBOUNDED
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import (
    column_exp,
    column_slope,
    column_tanh,
    column_weighed,
    pack_rows,
    put_rows,
    scale_row,
    transpose_rows,
)


@reassociated
def dot(a, a_at, b, b_at, count):
    """Returns sum_x a[x] b[x], in float64."""
    total, left, right = 0.0, np.uintp(a_at), np.uintp(b_at)
    for x in range(np.uintp(count)):
        total += np.float64(a[left + x]) * b[right + x]
    return total


@inlined
def add_bias_gradient(d_s, d_bias, at, rows, keys, sizes, rules):
    """Adds d_s of each pair to the gradient of the element that its bias came from."""
    if rules.bias_row == 1:
        for j in range(keys):
            add_row(d_bias, at + j * rules.bias_column, d_s, j * sizes.q_tile, rows)
        return
    for j in range(keys):
        for i in range(rows):
            d_bias[at + i * rules.bias_row + j * rules.bias_column] += d_s[j * sizes.q_tile + i]


@inlined
def add_distance_gradient(d_s, d_distance, at, rows, keys, sizes):
    """Adds d_s of each pair to the gradient of its distance's bias."""
    for j in range(keys):
        add_row(d_distance, at - j, d_s, j * sizes.q_tile, rows)


@compiled
def backward(counter, slots, splits, whole, sizes, rules, heads, row_at, entries, bands, tiles, mask, mask_at, bias, bias_at,
             distance, scale, rule, slopes, values, starts, steps, constants, q_positions, kv_positions, d_values, d_values_step,
             positions, embedding, counts, d_embedding, d_embedding_step,
            q, k, v, out, tops, totals, d_out, d_lse, d_q, d_k, d_v, delta, d_bias, d_bias_step, d_distance, d_distance_step):
    """Fills d_q, d_k, d_v, and delta = d_out . out - d_lse of every row; adds to the gradients of biases and rule parameters.

    A task is a kv head and a split of its query tiles: it owns their d_q, and a copy of d_k and d_v, which the caller
    sums. Slot s does tasks s, s + slots, ... in order, and owns a copy of what is added to; the step from one copy to the next
    is 0 where the slots add to different elements of one. For each tile
    P = exp(S - m), dP^T = V dO^T, dS = P (dP - delta), dV += P^T dO, dK += dS^T Q, dQ += dS K, where dO and delta are
    divided by l beforehand: through m + log l, rounded, the weights of large scores would not sum to 1. `whole` is whether
    these are all keys of the queries: of a part of them the weights do not sum to 1. Without contextual positions the
    embedding is None, and Numba compiles nothing of them.
    """
    control, kind_of, dtype = flush_small(), q.dtype.type, q.dtype
    width, head_width, value_width, micro = sizes.q_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    uncapped = kind_of(rules.cap if rules.cap else 1.0)
    groups = sizes.heads // sizes.kv_heads
    tile = sizes.kv_tile * width
    # What a band leaves out is weighed with the rest, and must not begin as NaN: uncompiled, NumPy would warn of it.
    p, d_s = np.zeros(tile, dtype), np.zeros(tile, dtype)
    tanhs, given = np.empty(tile if rules.cap else 0, dtype), np.empty(tile if rule else 0, dtype)
    q_t, d_out_t = np.empty(width * head_width, dtype), np.empty(width * value_width, dtype)
    d_q_tile, d_out_tile = np.empty(width * head_width, dtype), np.empty(width * value_width, dtype)
    q_panels, d_out_panels = np.empty(width * head_width, dtype), np.empty(width * value_width, dtype)
    k_panels, parameters_at = np.empty(sizes.kv_tile * head_width, dtype), np.empty(steps.size // 2, np.int64)
    shift, low_delta, spare = np.empty(width, dtype), np.empty(width, dtype), np.zeros(width, dtype)
    sums, weights = np.empty(width, dtype), np.empty(width)
    room = 0 if embedding is None else width
    numbers = table_rows(positions, sizes) * room
    table, d_table = np.empty(numbers, dtype), np.empty(numbers, dtype)
    g, c, run = np.empty(sizes.kv_tile * room, dtype), np.empty(sizes.kv_tile * room, dtype), np.empty(width, dtype)
    stands, shares, limits = np.empty(width, np.int32), np.empty(width, dtype), np.empty(width, dtype)
    rest, rest_low, carry = np.zeros(width), np.zeros(width), np.zeros(width, dtype)
    lowest, last, made = 0.0, positions - 1, 0
    count = (sizes.q_len + width - 1) // width
    tasks = sizes.batch * sizes.kv_heads * splits
    while True:
        slot = next_task(counter)
        if slot >= slots:
            break
        for task in range(slot, tasks, slots):
            kv_head = task // splits
            kv_at = kv_head * sizes.kv_rows
            copy_at = (task % splits * sizes.batch * sizes.kv_heads + kv_head) * sizes.kv_len
            for unit in range(groups * count):
                # Splits take the tiles in turn, forth and back, so that long and short ones are shared alike.
                turn = unit % (2 * splits)
                if min(turn, 2 * splits - 1 - turn) != task % splits:
                    continue
                head = kv_head * groups + unit // count
                i0 = (count - 1 - unit % count) * width
                rows = min(width, sizes.q_len - i0)
                q_at, d_out_at = (head * sizes.q_len + i0) * head_width, (head * sizes.q_len + i0) * value_width
                for i in range(width):
                    shift[i] = 0
                    low_delta[i] = 0
                for i in range(rows):
                    row = head * sizes.q_len + i0 + i
                    exact = dot(d_out, d_out_at + i * value_width, out, row * sizes.value_dim, sizes.value_dim) - d_lse[row]
                    weight = kind_of(1 / totals[row] if totals[row] != 0 else 0.0)
                    delta[row], low_delta[i], weights[i] = exact, exact * weight, weight
                    for e in range(0, value_width, micro):
                        scale_row(d_out_tile, i * value_width + e, d_out, d_out_at + i * value_width + e, weight)
                    carry[i] = 0
                    if embedding is not None:
                        rest[i], rest_low[i], lowest = counts[3 * row], counts[3 * row + 1], counts[3 * row + 2]
                    if tops[row] > -np.inf:
                        shift[i] = tops[row]
                transpose_rows(d_out_t, width, d_out_tile, 0, value_width, rows, kind_of(1), sizes.lanes, micro)
                pack_rows(d_out_panels, width, d_out_tile, 0, value_width, rows, kind_of(1), micro)
                for x in range(width * head_width):
                    d_q_tile[x] = 0
                if embedding is not None:
                    transpose_rows(q_t, width, q, q_at, head_width, rows, kind_of(1), sizes.lanes, micro)
                    made = extended(table, 0, rest, rest_low, embedding, q_t, rows, width, last, sizes)
                    for x in range(made * width):
                        d_table[x] = 0
                transpose_rows(q_t, width, q, q_at, head_width, rows, kind_of(rules.factor), sizes.lanes, micro)
                pack_rows(q_panels, width, q, q_at, head_width, rows, kind_of(scale), micro)
                low, high = key_range(i0, rows, sizes, rules)
                start, stop = tiles_of(head, i0, low, high, heads, row_at, sizes, rules)
                for n in range(start, stop):
                    j0, kind, below, above = tile_at(n, i0, entries, bands, sizes, rules)
                    if j0 >= high or j0 + sizes.kv_tile <= low:
                        continue
                    keys = keys_of_tile(j0, high, sizes)
                    k_at, v_at = (kv_at + j0) * head_width, (kv_at + j0) * value_width
                    alone = whole and stop - start == 1
                    if alone or d_bias.size or d_distance_step:  # whole tiles are read
                        below, above = -UNBOUNDED, UNBOUNDED
                    product_set(p, 0, width, micro, k, k_at, head_width, 1, q_t, head_width * micro, keys, width, sizes.head_dim,
                                micro, -above, -below)
                    if embedding is not None and j0 >= lowest:
                        hide(p, head, kind, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at)
                        count_from_left(p, g, c, run, stands, shares, limits, rest, rest_low, uncapped, keys, rows, width, last)
                    if rules.cap:
                        column_tanh(p, keys, width, spare, spare)
                        for x in range(keys * width):
                            tanhs[x] = p[x]
                            p[x] *= kind_of(rules.cap)
                    if rule:
                        for x in range(keys * width):
                            given[x] = p[x]
                        stand_at(parameters_at, head, i0, j0, sizes.batch * sizes.heads, starts, steps)
                        call_rule(rule, p, keys, rows, width, q_positions[i0:], kv_positions[j0:], values, parameters_at, steps,
                                  constants)
                    if embedding is not None:
                        if j0 < lowest:
                            add_ends(p, table, last * width, keys, width)
                        else:
                            column_between(p, c, table, stands, shares, limits, keys, width)
                    score(p, head, kind, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at, bias, bias_at, distance)
                    column_exp(p, keys, width, shift, spare)
                    product_add_within(d_v, (copy_at + j0) * value_width, value_width, d_out_tile, p, 0, width, 1, d_out_panels,
                                       width * micro, keys, value_width, rows, micro, -above, -below)
                    product_set(d_s, 0, width, micro, v, v_at, value_width, 1, d_out_t, value_width * micro, keys, width,
                                sizes.value_dim, micro, -above, -below)
                    if alone:
                        for i in range(width):
                            sums[i] = 0
                        column_weighed(p, d_s, keys, width, spare, sums)  # delta too, and the better one: dS then sums to 0
                        for i in range(rows):
                            low_delta[i] = (sums[i] - d_lse[head * sizes.q_len + i0 + i]) * weights[i]
                    column_slope(d_s, p, keys, width, low_delta, spare)
                    if d_bias.size:
                        at = slot * d_bias_step + bias_at[head] + i0 * rules.bias_row + j0 * rules.bias_column
                        add_bias_gradient(d_s, d_bias, at, rows, keys, sizes, rules)
                    if d_distance_step:
                        at = slot * d_distance_step + distance_at(head, i0, j0, sizes)
                        add_distance_gradient(d_s, d_distance, at, rows, keys, sizes)
                    if embedding is not None:
                        if j0 < lowest:
                            end_slopes(d_s, d_table, last * width, run, keys, width)
                        else:
                            column_slopes(d_s, c, g, table, d_table, stands, carry, keys, width)
                    if rule:
                        call_slopes(slopes, d_s, given, keys, rows, width, q_positions[i0:], kv_positions[j0:], values,
                                    parameters_at, steps, constants, d_values[slot * d_values_step :])
                    if rules.cap:
                        slope_of_cap(d_s, tanhs, keys * width)
                    if embedding is not None and j0 >= lowest:
                        for x in range(keys * width):
                            d_s[x] += g[x]
                    product_add_within(d_k, (copy_at + j0) * head_width, head_width, k_panels, d_s, 0, width, 1, q_panels,
                                       width * micro, keys, head_width, rows, micro, -above, -below)
                    pack_rows(k_panels, sizes.kv_tile, k, k_at, head_width, keys, kind_of(1), micro)
                    product_add(d_q_tile, 0, micro, width * micro, d_s, 0, 1, width, k_panels, sizes.kv_tile * micro, rows,
                                head_width, keys, micro, below, above)
                factor = kind_of(scale)
                if embedding is not None:
                    for x in range(width * head_width):
                        d_q_tile[x] *= factor
                    factor = kind_of(1)
                    pack_rows(q_panels, width, q, q_at, head_width, rows, factor, micro)
                    table_slopes(d_table, made, d_q_tile, embedding, k_panels, q_panels, d_embedding, slot * d_embedding_step, rows,
                                 width, sizes)
                for i in range(rows):
                    low_delta[i] = factor
                put_rows(d_q, (head * sizes.q_len + i0) * sizes.head_dim, sizes.head_dim, d_q_tile, width, rows, low_delta, micro)
    restore(control)


@inlined
def slope_of_cap(d_s, tanhs, count):
    """Multiplies dS by 1 - t ** 2, the slope of the cap where it gave cap t."""
    for x in range(count):
        d_s[x] *= 1 - tanhs[x] * tanhs[x]
