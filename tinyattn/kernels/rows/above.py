"""Attention whose weights are a power of the scores above a threshold, forward: the scores of a tile of queries are held."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.scores import band, key_range, keys_of_tile, score
from tinyattn.kernels.rows.roots import find_levels
from tinyattn.kernels.tiles.above import lowest_bit, scores_above
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined, reassociated
from tinyattn.kernels.tiles.product import product_add, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import column_max, pack_rows, put_rows, transpose_rows

# Of so many pairs of a tile at most one may have a weight for the others to be left out of the products.
FEW = 12


@inlined
def scores_of_tile(held, at, head, i0, j0, rows, keys, q_t, k, k_at, sizes, rules, tiles, mask, mask_at, bias, bias_at, distance):
    """Fills a tile with scores, -inf where unseen."""
    width, micro = sizes.q_tile, sizes.micro_columns
    s = held[at : at + sizes.kv_tile * width]
    below, above = band(i0, j0, sizes, rules)
    product_set(s, 0, width, micro, k, k_at, sizes.head_width, 1, q_t, sizes.head_width * micro, keys, width, sizes.head_dim, micro,
                -above, -below)
    score(s, head, -1, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at, bias, bias_at, distance)


@inlined
def lower(held, at, keys, width, top, factor):
    """Replaces scores by factor times what they are above the top of their query."""
    for j in range(keys):
        into = np.uintp(at + j * width)
        for i in range(np.uintp(width)):
            held[into + i] = (held[into + i] - top[i]) * factor


@inlined
def lift(held, at, keys, width, level):
    """Replaces them by what they are above the threshold, 0 below it."""
    zero = held.dtype.type(0)
    for j in range(keys):
        into = np.uintp(at + j * width)
        for i in range(np.uintp(width)):
            root = held[into + i] + level[i]
            held[into + i] = zero if root < zero else root


@inlined
def square_of(weights, held, at, count, square):
    """Fills weights with the roots or with their squares."""
    from_ = np.uintp(at)
    for x in range(np.uintp(count)):
        root = held[from_ + x]
        weights[x] = root * root if square else root


@inlined
def count_above(held, at, keys, rows, width, edge):
    """Returns how many pairs of a tile have a weight; fills the edges above which `scores_above` finds their roots."""
    count = 0
    for i in range(rows, width):
        edge[i] = np.inf
    for i in range(rows):
        edge[i] = 0
    for j in range(keys):
        some = scores_above(held, at + j * width, width, edge)
        while some:
            some &= some - 1
            count += 1
    return count


@reassociated
def add_weighed(part, at, weight, v, begin, width, begun):
    """Adds a weight times a row of values to a part of a sum, or begins it. Multiplies and adds in one, as products do."""
    into, out_of = np.uint64(at), np.uint64(begin)
    if begun:
        for c in range(width):
            part[into + np.uint64(c)] += weight * v[out_of + np.uint64(c)]
    else:
        for c in range(width):
            part[into + np.uint64(c)] = weight * v[out_of + np.uint64(c)]


@inlined
def add_few(a, part, held, at, keys, width, square, v, v_at, value_width, micro, edge):
    """Adds to a the values of a tile's keys that have a weight, in the order in which the product of the whole tile adds them.

    To the bit the sum is that of the product: which of the two a tile takes depends on all its queries, and so on later keys.
    """
    begun = 0
    for j in range(keys):
        some = scores_above(held, at + j * width, width, edge)
        while some:
            i = lowest_bit(some)
            some &= some - 1
            root = held[at + j * width + i]
            for c in range(0, value_width, micro):
                add_weighed(part, c * width + i * micro, root * root if square else root, v, v_at + j * value_width + c, micro,
                            begun >> i & 1)
            begun |= 1 << i
    while begun:
        i = lowest_bit(begun)
        begun &= begun - 1
        for c in range(0, value_width, micro):
            x = np.uintp(c * width + i * micro)
            for y in range(np.uintp(micro)):
                a[x + y] += part[x + y]


@inlined
def in_turn(counter, sizes, rules, finite, square, eps, tiles, mask, mask_at, bias, bias_at, distance, q, k, v, out, tops, levels,
            spaces):
    """Does the tasks of `above_forward` that no other thread has taken."""
    kind_of, width, micro = q.dtype.type, sizes.q_tile, sizes.micro_columns
    head_width, value_width, tile = sizes.head_width, sizes.value_width, sizes.kv_tile * sizes.q_tile
    held, weights, q_t, a, part, v_panels, top, level, total, slope, ones, exact, exact_slope, moves, starts, counts = spaces
    factor, count = kind_of(0.5 if square else 1.0), (sizes.q_len + width - 1) // width
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.heads * count:
            break
        head, i0 = task // count, (count - 1 - task % count) * width
        rows, line = min(width, sizes.q_len - i0), head * sizes.q_len + i0
        kv_at = head // (sizes.heads // sizes.kv_heads) * sizes.kv_rows
        transpose_rows(q_t, width, q, line * head_width, head_width, rows, kind_of(rules.factor), sizes.lanes, micro)
        for i in range(width):
            top[i] = -np.inf
        for x in range(width * value_width):
            a[x] = 0
        low, high = key_range(i0, rows, sizes, rules)
        first = low // sizes.kv_tile
        number = max(0, (high + sizes.kv_tile - 1) // sizes.kv_tile - first)
        for n in range(number):
            j0 = (first + n) * sizes.kv_tile
            starts[n], counts[n] = n * tile, keys_of_tile(j0, high, sizes)
            scores_of_tile(held, n * tile, head, i0, j0, rows, counts[n], q_t, k, (kv_at + j0) * head_width, sizes, rules, tiles, mask,
                           mask_at, bias, bias_at, distance)
            column_max(held[n * tile : (n + 1) * tile], counts[n], width, top, top)
        for i in range(width):
            top[i] = top[i] if top[i] > -np.inf else kind_of(0)
        for n in range(number):
            lower(held, n * tile, counts[n], width, top, factor)
        least = kind_of(1 / max(number * sizes.kv_tile, 1))
        find_levels(held, starts[:number], counts[:number], width, kind_of(np.sqrt(least)) if square else least, square, eps, level,
                    total, slope, exact, exact_slope, moves)
        for n in range(number):
            j0, keys, at = (first + n) * sizes.kv_tile, counts[n], n * tile
            below, above = band(i0, j0, sizes, rules)
            lift(held, at, keys, width, level)
            if finite:
                found = count_above(held, at, keys, rows, width, total)
                if found * FEW <= keys * rows:
                    add_few(a, part, held, at, keys, width, square, v, (kv_at + j0) * value_width, value_width, micro, total)
                    continue
            square_of(weights, held, at, keys * width, square)
            pack_rows(v_panels, sizes.kv_tile, v, (kv_at + j0) * value_width, value_width, keys, kind_of(1), micro)
            product_add(a, 0, micro, width * micro, weights, 0, 1, width, v_panels, sizes.kv_tile * micro, rows, value_width, keys,
                        micro, below, above)
        for i in range(rows):
            tops[line + i], levels[line + i] = top[i], level[i]
        put_rows(out, line * sizes.value_dim, sizes.value_dim, a, width, rows, ones, micro)


@compiled
def above_forward(counter, taken, all_held, room, sizes, rules, finite, square, eps, tiles, mask, mask_at, bias, bias_at, distance, q,
                  k, v, out, tops, levels):
    """Fills out (batch, heads, q_len, value_dim), tops and levels (batch, heads, q_len); a task is one tile of queries.

    With r_j = (f (s_j - top) + level)_+, the weights are r of f = 1, or r^2 of f = 1/2 with `square`. `room` tiles of keys are all
    that a tile of queries may see; `all_held` has room for every thread, of which `taken` counts those that have begun.
    """
    control, width, dtype = flush_small(), sizes.q_tile, q.dtype
    tile = sizes.kv_tile * width
    begin = next_task(taken) * room * tile
    spaces = (all_held[begin : begin + room * tile], np.zeros(tile, dtype), np.empty(sizes.head_width * width, dtype),
              np.empty(width * sizes.value_width, dtype), np.empty(width * sizes.value_width, dtype),
              np.empty(sizes.kv_tile * sizes.value_width, dtype), np.empty(width, dtype), np.empty(width, dtype),
              np.empty(width, dtype), np.empty(width, dtype), np.ones(width, dtype), np.empty(width), np.empty(width),
              np.empty(width), np.empty(room, np.int64), np.empty(room, np.int64))
    in_turn(counter, sizes, rules, finite, square, eps, tiles, mask, mask_at, bias, bias_at, distance, q, k, v, out, tops, levels,
            spaces)
    restore(control)
