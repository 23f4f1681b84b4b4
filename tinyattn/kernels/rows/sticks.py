"""Sticks broken from the right, forward: tiles of keys from the nearest on, until nothing is left of any stick."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.scores import band, hide_far, is_cut, key_range, keys_of_tile
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_add, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import column_exp, pack_rows, put_rows, transpose_rows


@inlined
def odds_of(s, s_at, i0, j0, rows, keys, most, q_t, k, k_at, sizes, rules, none, spare):
    """Fills a tile with exp(s) of the scores, 0 where unseen; those above `most` count as `most`, and their share is 1."""
    width, micro, count = sizes.q_tile, sizes.micro_columns, keys * sizes.q_tile
    s = s[s_at : s_at + sizes.kv_tile * width]
    below, above = band(i0, j0, sizes, rules)
    product_set(s, 0, width, micro, k, k_at, sizes.head_width, 1, q_t, sizes.head_width * micro, keys, width, sizes.head_dim, micro,
                -above, -below)
    if is_cut(i0, j0, rows, keys, sizes, rules):
        hide_far(s, i0, j0, rows, keys, sizes, rules)
    for x in range(np.uintp(count)):
        s[x] = most if s[x] > most else s[x]
    column_exp(s, keys, width, none, spare)


@inlined
def none_left(carry, width, least):
    """Returns whether less than `least` is left of every stick; False where one is NaN."""
    for i in range(width):
        if not carry[i] < least:
            return False
    return True


@inlined
def break_tile(odds, at, weights, left, carry, keys, width):
    """Fills the weight of each key and what it leaves, from the last key on; carry becomes what all of them leave.

    By products and not by sums of logs, which take longer.
    """
    one = odds.dtype.type(1)
    for n in range(keys):
        into = np.uintp((keys - 1 - n) * width)
        from_ = np.uintp(at) + into
        for i in range(np.uintp(width)):
            kept = one / (one + odds[from_ + i])
            left[into + i] = kept
            weights[into + i] = odds[from_ + i] * kept * carry[i]
            carry[i] *= kept


@compiled
def sticks_forward(counter, sizes, rules, skip, most, least, q, k, v, out, rest):
    """Fills out (batch, heads, q_len, value_dim) and rest (batch, heads, q_len); a task is one tile of queries.

    What is left after some keys counts as nothing below `least`; with `skip` no key is read from which on nothing is left.
    """
    control, kind_of, dtype = flush_small(), q.dtype.type, q.dtype
    width, head_width, value_width, micro = sizes.q_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    tile = sizes.kv_tile * width
    s, weights, left = np.zeros(tile, dtype), np.zeros(tile, dtype), np.zeros(tile, dtype)
    q_t, a = np.empty(head_width * width, dtype), np.empty(width * value_width, dtype)
    v_panels = np.empty(sizes.kv_tile * value_width, dtype)
    carry, ones, none, spare = np.empty(width, dtype), np.ones(width, dtype), np.zeros(width, dtype), np.zeros(width, dtype)
    count = (sizes.q_len + width - 1) // width
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.heads * count:
            break
        head, i0 = task // count, (count - 1 - task % count) * width
        rows = min(width, sizes.q_len - i0)
        kv_at = head // (sizes.heads // sizes.kv_heads) * sizes.kv_rows
        transpose_rows(q_t, width, q, (head * sizes.q_len + i0) * head_width, head_width, rows, kind_of(rules.factor),
                       sizes.lanes, micro)
        for i in range(width):
            carry[i] = i < rows
        for x in range(width * value_width):
            a[x] = 0
        low, high = key_range(i0, rows, sizes, rules)
        start, stop = low // sizes.kv_tile, (high + sizes.kv_tile - 1) // sizes.kv_tile
        for turn in range(stop - start):
            if skip and none_left(carry, width, least):
                break
            j0 = (stop - 1 - turn) * sizes.kv_tile
            keys = keys_of_tile(j0, high, sizes)
            below, above = band(i0, j0, sizes, rules)
            odds_of(s, 0, i0, j0, rows, keys, most, q_t, k, (kv_at + j0) * head_width, sizes, rules, none, spare)
            break_tile(s, 0, weights, left, carry, keys, width)
            pack_rows(v_panels, sizes.kv_tile, v, (kv_at + j0) * value_width, value_width, keys, kind_of(1), micro)
            product_add(a, 0, micro, width * micro, weights, 0, 1, width, v_panels, sizes.kv_tile * micro, rows, value_width, keys,
                        micro, below, above)
        line = head * sizes.q_len + i0
        for i in range(rows):
            rest[line + i] = kind_of(0) if carry[i] < least else carry[i]
        put_rows(out, line * sizes.value_dim, sizes.value_dim, a, width, rows, ones, micro)
    restore(control)
