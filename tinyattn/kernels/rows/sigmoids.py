"""Attention whose weights are sigmoids of the scores, each by itself: forward and backward by tiles, without a sum of a row."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.scores import band, key_range, keys_of_tile, score
from tinyattn.kernels.rows.queries import read_queries, takes
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_add, product_add_within, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import column_exp, pack_rows, put_rows, transpose_rows


@inlined
def weights_of(s, left, head, i0, j0, rows, keys, most, back, q_t, k, k_at, sizes, rules, tiles, mask, mask_at, bias, bias_at,
               distance, none, spare):
    """Fills a tile with the sigmoids of scores minus `back` of their query, and `left` with 1 minus them; 0 where unseen.

    `back` is taken off before scores are cut to `most`: beside an offset of 1e30 `most` plus `back` were `back` itself.
    """
    width, micro, one = sizes.q_tile, sizes.micro_columns, s.dtype.type(1)
    below, above = band(i0, j0, sizes, rules)
    product_set(s, 0, width, micro, k, k_at, sizes.head_width, 1, q_t, sizes.head_width * micro, keys, width, sizes.head_dim, micro,
                -above, -below)
    score(s, head, -1, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at, bias, bias_at, distance)
    for j in range(keys):
        into = np.uintp(j * width)
        for i in range(np.uintp(width)):
            moved = s[into + i] - back[i]
            s[into + i] = most if moved > most else moved
    column_exp(s, keys, width, none, spare)
    for x in range(np.uintp(keys * width)):
        left[x] = one / (one + s[x])
        s[x] *= left[x]


@inlined
def slopes_of(d, weights, left, keys, width, sums):
    """Writes the gradient of the scores over that of the weights, and adds it up by query."""
    for j in range(keys):
        into = np.uintp(j * width)
        for i in range(np.uintp(width)):
            d[into + i] *= weights[into + i] * left[into + i]
            sums[i] += d[into + i]


@compiled
def sigmoid_forward(counter, sizes, rules, most, tiles, mask, mask_at, bias, bias_at, distance, back, q, k, v, out):
    """Fills out (batch, heads, q_len, value_dim); a task is one tile of queries, from whose scores `back` is taken."""
    control, kind_of, dtype = flush_small(), q.dtype.type, q.dtype
    width, head_width, value_width, micro = sizes.q_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    s, left = np.zeros(sizes.kv_tile * width, dtype), np.zeros(sizes.kv_tile * width, dtype)
    q_t, a = np.empty(head_width * width, dtype), np.empty(width * value_width, dtype)
    v_panels, own = np.empty(sizes.kv_tile * value_width, dtype), np.zeros(width, dtype)
    ones, none, spare = np.ones(width, dtype), np.zeros(width, dtype), np.zeros(width, dtype)
    count = (sizes.q_len + width - 1) // width
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.heads * count:
            break
        head, i0 = task // count, (count - 1 - task % count) * width
        rows, line = min(width, sizes.q_len - i0), head * sizes.q_len + i0
        kv_at = head // (sizes.heads // sizes.kv_heads) * sizes.kv_rows
        transpose_rows(q_t, width, q, line * head_width, head_width, rows, kind_of(rules.factor), sizes.lanes, micro)
        for i in range(width):
            own[i] = back[line + i] if i < rows else kind_of(0)
        for x in range(width * value_width):
            a[x] = 0
        low, high = key_range(i0, rows, sizes, rules)
        for n in range(low // sizes.kv_tile, (high + sizes.kv_tile - 1) // sizes.kv_tile):
            j0 = n * sizes.kv_tile
            keys = keys_of_tile(j0, high, sizes)
            below, above = band(i0, j0, sizes, rules)
            weights_of(s, left, head, i0, j0, rows, keys, most, own, q_t, k, (kv_at + j0) * head_width, sizes, rules, tiles, mask,
                       mask_at, bias, bias_at, distance, none, spare)
            pack_rows(v_panels, sizes.kv_tile, v, (kv_at + j0) * value_width, value_width, keys, kind_of(1), micro)
            product_add(a, 0, micro, width * micro, s, 0, 1, width, v_panels, sizes.kv_tile * micro, rows, value_width, keys, micro,
                        below, above)
        put_rows(out, line * sizes.value_dim, sizes.value_dim, a, width, rows, ones, micro)
    restore(control)


@compiled
def sigmoid_backward(counter, splits, sizes, rules, most, tiles, mask, mask_at, bias, bias_at, distance, scale, back, q, k, v, d_out,
                     d_q, d_k, d_v, d_back):
    """Fills d_q and d_back, and adds to d_k and d_v; a task is a kv head and a split of its query tiles, with copies to be summed."""
    control, kind_of, dtype = flush_small(), q.dtype.type, q.dtype
    width, head_width, value_width, micro = sizes.q_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    groups, count, tile = sizes.heads // sizes.kv_heads, (sizes.q_len + width - 1) // width, sizes.kv_tile * width
    p, left, d_s = np.zeros(tile, dtype), np.zeros(tile, dtype), np.zeros(tile, dtype)
    q_t, q_panels = np.empty(width * head_width, dtype), np.empty(width * head_width, dtype)
    d_q_tile, k_panels = np.empty(width * head_width, dtype), np.empty(sizes.kv_tile * head_width, dtype)
    d_out_t, d_out_panels = np.empty(width * value_width, dtype), np.empty(width * value_width, dtype)
    within, own = np.empty(width * max(head_width, value_width), dtype), np.zeros(width, dtype)
    sums, none, spare = np.empty(width, dtype), np.zeros(width, dtype), np.zeros(width, dtype)
    scales = np.full(width, kind_of(scale))
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
                own[i] = back[line + i] if i < rows else kind_of(0)
                sums[i] = 0
            for x in range(width * head_width):
                d_q_tile[x] = 0
            low, high = key_range(i0, rows, sizes, rules)
            for n in range(low // sizes.kv_tile, (high + sizes.kv_tile - 1) // sizes.kv_tile):
                j0 = n * sizes.kv_tile
                keys = keys_of_tile(j0, high, sizes)
                below, above = band(i0, j0, sizes, rules)
                weights_of(p, left, head, i0, j0, rows, keys, most, own, q_t, k, (kv_at + j0) * head_width, sizes, rules, tiles, mask,
                           mask_at, bias, bias_at, distance, none, spare)
                product_add_within(d_v, (copy_at + j0) * value_width, value_width, within, p, 0, width, 1, d_out_panels,
                                   width * micro, keys, value_width, rows, micro, -above, -below)
                product_set(d_s, 0, width, micro, v, (kv_at + j0) * value_width, value_width, 1, d_out_t, value_width * micro, keys,
                            width, sizes.value_dim, micro, -above, -below)
                slopes_of(d_s, p, left, keys, width, sums)
                product_add_within(d_k, (copy_at + j0) * head_width, head_width, within, d_s, 0, width, 1, q_panels, width * micro,
                                   keys, head_width, rows, micro, -above, -below)
                pack_rows(k_panels, sizes.kv_tile, k, (kv_at + j0) * head_width, head_width, keys, kind_of(1), micro)
                product_add(d_q_tile, 0, micro, width * micro, d_s, 0, 1, width, k_panels, sizes.kv_tile * micro, rows, head_width,
                            keys, micro, below, above)
            for i in range(rows):
                d_back[line + i] = -sums[i]
            put_rows(d_q, line * sizes.head_dim, sizes.head_dim, d_q_tile, width, rows, scales, micro)
    restore(control)
