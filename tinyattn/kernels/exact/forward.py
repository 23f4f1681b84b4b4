"""Exact attention forward, tile by tile: online softmax, the log-sum-exp of every row kept for the backward."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.counted import add_ends, all_counted, count_from_right, extended, table_rows
from tinyattn.kernels.exact.gates import column_between
from tinyattn.kernels.exact.scores import cap, hide, key_range, keys_of_tile, score, tile_at, tiles_of
from tinyattn.kernels.rules.tiles import call_rule, stand_at
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.online import exponentials
from tinyattn.kernels.tiles.product import product_add, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_rows, transpose_rows


@compiled
def forward(counter, sizes, rules, heads, row_at, entries, bands, tiles, mask, mask_at, bias, bias_at, distance, sinks,
            rule, values, starts, steps, constants, q_positions, kv_positions, positions, embedding, counts,
            q, k, v, out, tops, totals):
    """Fills out (batch, heads, q_len, value_dim), and tops, totals (batch, heads, q_len); a task is one tile of queries.

    For each block of keys, S^T = K Q^T, then m' = max(m, max S), P = exp(S - m'), l = exp(m - m') l + sum P,
    a = exp(m - m') a + P V. A sink is the start (m, l) = (sink, 1). tops and totals are the last m and l. With an
    embedding of `positions` vectors, tiles come from the right, and counts are the sums of the gates. Without one it is
    None, and Numba compiles none of that.
    """
    control, kind_of, dtype = flush_small(), q.dtype.type, q.dtype
    width, head_width, value_width, micro = sizes.q_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    nowhere, uncapped = kind_of(-np.inf), kind_of(rules.cap if rules.cap else 1.0)
    s, q_t = np.empty(sizes.kv_tile * width, dtype), np.empty(head_width * width, dtype)
    a, v_panels = np.empty(width * value_width, dtype), np.empty(sizes.kv_tile * value_width, dtype)
    top, shift, kept, part = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    none, spare, parameters_at = np.zeros(width, dtype), np.zeros(width, dtype), np.empty(steps.size // 2, np.int64)
    total = np.empty(width)  # in float64: of many tiles the sum would lose more than all the rest
    room = 0 if embedding is None else width
    table, plain_t = np.empty(table_rows(positions, sizes) * room, dtype), np.empty(head_width * room, dtype)
    c, run, stands = np.empty(sizes.kv_tile * room, dtype), np.empty(width, dtype), np.empty(width, np.int32)
    shares, limits, carry, carry_low = np.empty(width, dtype), np.empty(width, dtype), np.zeros(width), np.zeros(width)
    count = (sizes.q_len + width - 1) // width
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.heads * count:
            break
        head = task // count
        i0 = (count - 1 - task % count) * width  # with a causal mask the last tiles are the longest: they go first
        rows = min(width, sizes.q_len - i0)
        kv_at = head // (sizes.heads // sizes.kv_heads) * sizes.kv_rows
        transpose_rows(q_t, width, q, (head * sizes.q_len + i0) * head_width, head_width, rows,
                       kind_of(rules.factor), sizes.lanes, micro)
        begin, weight = nowhere, 0.0
        if sinks.size:
            begin, weight = sinks[head % sizes.heads], 1.0
        for i in range(width):
            top[i] = begin
            total[i] = weight
            carry[i] = 0
            carry_low[i] = 0
        for x in range(width * value_width):
            a[x] = 0
        counted, lowest, last, made = False, sizes.kv_len, positions - 1, 0
        if embedding is not None:
            transpose_rows(plain_t, width, q, (head * sizes.q_len + i0) * head_width, head_width, rows, kind_of(1),
                           sizes.lanes, micro)
            made = extended(table, 0, carry, carry_low, embedding, plain_t, rows, width, last, sizes)
        low, high = key_range(i0, rows, sizes, rules)
        begun = sinks.size > 0
        start, stop = tiles_of(head, i0, low, high, heads, row_at, sizes, rules)
        for turn in range(start, stop):
            n = start + stop - 1 - turn if embedding is not None else turn
            j0, kind, below, above = tile_at(n, i0, entries, bands, sizes, rules)
            if j0 >= high or j0 + sizes.kv_tile <= low:
                continue
            keys = keys_of_tile(j0, high, sizes)
            product_set(s, 0, width, micro, k, (kv_at + j0) * head_width, head_width, 1, q_t, head_width * micro,
                        keys, width, sizes.head_dim, micro, -above, -below)
            if embedding is not None:
                counted = counted or all_counted(carry, rows, last)
                if not counted:
                    lowest = j0
                    hide(s, head, kind, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at)  # a gate of what is hidden is 0
                    count_from_right(s, c, run, stands, shares, limits, carry, carry_low, uncapped, keys, rows, width, last)
                    made = extended(table, made, carry, carry_low, embedding, plain_t, rows, width, last, sizes)
            if rules.cap:
                cap(s, keys, sizes, rules, spare)
            if rule:
                stand_at(parameters_at, head, i0, j0, sizes.batch * sizes.heads, starts, steps)
                call_rule(rule, s, keys, rows, width, q_positions[i0:], kv_positions[j0:], values,
                          parameters_at, steps, constants)
            if embedding is not None:
                if counted:
                    add_ends(s, table, last * width, keys, width)
                else:
                    column_between(s, c, table, stands, shares, limits, keys, width)
            score(s, head, kind, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at, bias, bias_at, distance)
            exponentials(s, keys, width, top, total, a, value_width, micro, begun, shift, kept, part, none, spare)
            begun = True
            pack_rows(v_panels, sizes.kv_tile, v, (kv_at + j0) * value_width, value_width, keys, kind_of(1), micro)
            product_add(a, 0, micro, width * micro, s, 0, 1, width, v_panels, sizes.kv_tile * micro, rows, value_width, keys, micro,
                        below, above)
        for i in range(rows):
            row = head * sizes.q_len + i0 + i
            tops[row], totals[row] = top[i], total[i]
            if embedding is not None:
                counts[3 * row], counts[3 * row + 1], counts[3 * row + 2] = carry[i], carry_low[i], lowest
            kept[i] = 1 / total[i] if total[i] != 0 else 0.0
        put_rows(out, (head * sizes.q_len + i0) * sizes.value_dim, sizes.value_dim, a, width, rows, kept, micro)
    restore(control)
