"""Sticks broken from the right, backward: a pass from the right for what is left before each tile of keys, and one from the left."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.scores import band, key_range, keys_of_tile
from tinyattn.kernels.rows.queries import read_queries, takes
from tinyattn.kernels.rows.sticks import break_tile, none_left, odds_of
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_add, product_add_within, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_rows


@inlined
def pull_tile(d, odds, at, weights, left, farther, keys, width):
    """Writes the gradient of the scores over that of the weights; farther becomes what all keys up to the last of the tile gain.

    A score moves its own weight, and against it those of all farther keys: d_s = w d_w left - share sum w d_w of the farther ones.
    """
    for j in range(keys):
        into = np.uintp(j * width)
        from_ = np.uintp(at) + into
        for i in range(np.uintp(width)):
            gain = weights[into + i] * d[into + i]
            d[into + i] = left[into + i] * gain - odds[from_ + i] * left[into + i] * farther[i]
            farther[i] += gain


@compiled
def sticks_backward(counter, splits, room, sizes, rules, skip, most, least, scale, q, k, v, rest, d_out, d_rest, d_q, d_k,
                    d_v):
    """Fills d_q, and adds to d_k and d_v; a task is a kv head and a split of its query tiles, with copies that the caller sums.

    The odds of the first `room` tiles from the right are held between the two turns, and those of the others are made again.
    """
    control, kind_of, dtype = flush_small(), q.dtype.type, q.dtype
    width, head_width, value_width, micro = sizes.q_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    groups, count, tile = sizes.heads // sizes.kv_heads, (sizes.q_len + width - 1) // width, sizes.kv_tile * width
    held, d_s = np.zeros((room + 1) * tile, dtype), np.zeros(tile, dtype)
    weights, left = np.zeros(tile, dtype), np.zeros(tile, dtype)
    found = np.empty((sizes.kv_len + sizes.kv_tile - 1) // sizes.kv_tile * width, dtype)
    q_t, q_panels, d_q_tile = (np.empty(width * head_width, dtype), np.empty(width * head_width, dtype),
                               np.empty(width * head_width, dtype))
    d_out_t, d_out_panels = np.empty(width * value_width, dtype), np.empty(width * value_width, dtype)
    k_panels, within = np.empty(sizes.kv_tile * head_width, dtype), np.empty(width * max(head_width, value_width), dtype)
    carry, farther, none, spare = np.empty(width, dtype), np.empty(width, dtype), np.zeros(width, dtype), np.zeros(width, dtype)
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
                carry[i] = i < rows
                farther[i] = rest[line + i] * d_rest[line + i] if i < rows else kind_of(0)
            for x in range(width * head_width):
                d_q_tile[x] = 0
            low, high = key_range(i0, rows, sizes, rules)
            start, stop = low // sizes.kv_tile, (high + sizes.kv_tile - 1) // sizes.kv_tile
            for step in range(stop - start):
                if skip and none_left(carry, width, least):
                    start = stop - step
                    break
                j0, at = (stop - 1 - step) * sizes.kv_tile, min(step, room) * tile
                keys = keys_of_tile(j0, high, sizes)
                for i in range(width):
                    found[step * width + i] = carry[i]
                odds_of(held, at, i0, j0, rows, keys, most, q_t, k, (kv_at + j0) * head_width, sizes, rules, none, spare)
                break_tile(held, at, weights, left, carry, keys, width)
            for n in range(start, stop):
                step, j0 = stop - 1 - n, n * sizes.kv_tile
                keys, at = keys_of_tile(j0, high, sizes), min(step, room) * tile
                below, above = band(i0, j0, sizes, rules)
                for i in range(width):
                    carry[i] = found[step * width + i]
                if step >= room:
                    odds_of(held, at, i0, j0, rows, keys, most, q_t, k, (kv_at + j0) * head_width, sizes, rules, none, spare)
                break_tile(held, at, weights, left, carry, keys, width)
                product_add_within(d_v, (copy_at + j0) * value_width, value_width, within, weights, 0, width, 1, d_out_panels,
                                   width * micro, keys, value_width, rows, micro, -above, -below)
                product_set(d_s, 0, width, micro, v, (kv_at + j0) * value_width, value_width, 1, d_out_t, value_width * micro, keys,
                            width, sizes.value_dim, micro, -above, -below)
                pull_tile(d_s, held, at, weights, left, farther, keys, width)
                product_add_within(d_k, (copy_at + j0) * head_width, head_width, within, d_s, 0, width, 1, q_panels, width * micro,
                                   keys, head_width, rows, micro, -above, -below)
                pack_rows(k_panels, sizes.kv_tile, k, (kv_at + j0) * head_width, head_width, keys, kind_of(1), micro)
                product_add(d_q_tile, 0, micro, width * micro, d_s, 0, 1, width, k_panels, sizes.kv_tile * micro, rows, head_width,
                            keys, micro, below, above)
            put_rows(d_q, line * sizes.head_dim, sizes.head_dim, d_q_tile, width, rows, scales, micro)
    restore(control)
