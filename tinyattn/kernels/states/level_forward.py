"""States of levels over chunks of tokens: what each query reads of them and of its own chunk, and the states after the last token."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.fading import fade, fill_fading
from tinyattn.kernels.states.level_tree import (
    add_closed,
    all_finite,
    any_number,
    closed_at,
    fill_heights,
    fill_leaf,
    fill_weights,
    free_node,
    only_level,
    place_decays,
    place_rows,
    read_node,
    read_pairs,
    weigh_pairs,
)
from tinyattn.kernels.states.rows import add_scaled, load_state, store_rows, store_state
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.product import product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, transpose_rows


@compiled
def level_forward(counter, sizes, scale, seen, depth, grown, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, decay, scales, levels,
                  initial, olds, out, last, faults):
    """Fills out (batch, heads, q_len, value_dim) and, if it is not empty, last (batch, kv_heads, depth, head_dim, value_dim).

    A task is one kv head. A chunk is a block of the text that begins at a multiple of its length, from the `seen` tokens on that the
    `olds` initial states hold; of the first and the last one there may be a part. For each chunk O = (Q K^T weighed) V +
    sum_l diag(weights_l) Q S_l, with one state for each level whose bit is set in the number of the chunk. `grown` says for each row
    of the first chunk on which level at least it sees what was before it. A head whose states
    are not finite has an entry in `faults`.
    """
    number = q.dtype.type
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    one, size = number(1), head_width * value_width
    since, until, weights, heights = (np.ones(chunk, q.dtype), np.ones(chunk, q.dtype), np.zeros(chunk, q.dtype),
                                      np.zeros(chunk, np.int64))
    running, rates = np.ones(chunk), np.ones(chunk)
    between, scores = np.zeros(chunk * chunk, q.dtype), np.zeros(chunk * chunk, q.dtype)
    queries, keys, keys_t = (np.zeros(chunk * head_width, q.dtype), np.zeros(chunk * head_width, q.dtype),
                             np.zeros(chunk * head_width, q.dtype))
    values, tile, x = (np.zeros(chunk * value_width, q.dtype), np.zeros(chunk * value_width, q.dtype),
                       np.zeros(chunk * value_width, q.dtype))
    nodes, state = np.zeros((depth + 1) * size, q.dtype), np.zeros(size, q.dtype)
    place, factors = np.zeros(depth, np.int64), np.ones(depth)
    groups, first, entries = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len, sizes.head_dim * sizes.value_dim
    fill_heights(heights)
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        for level in range(depth):
            place[level], factors[level] = -1, 1.0
        for level in range(0 if seen else 1, olds):
            load_state(nodes[level * size : (level + 1) * size], head_width, initial, (head * olds + level) * entries, sizes.head_dim,
                       sizes.value_dim, micro)
            if level == 0 or any_number(nodes, level * size, size):
                place[level] = level
        start = 0
        while start < sizes.kv_len:
            lead = (seen + start) % chunk
            rows, token = min(chunk - lead, sizes.kv_len - start), head * sizes.kv_len + start
            span, stop = lead + rows, start + rows
            if seen + start:
                add_closed(nodes, size, place, factors, closed_at(seen + start))
            place_rows(keys, head_width, lead, k, k_at[head] + start * k_step, k_step, rows, sizes.head_dim, one, chunk, micro)
            place_rows(values, value_width, lead, v, v_at[head] + start * v_step, v_step, rows, sizes.value_dim, one, chunk, micro)
            pack_rows(x, chunk, values, 0, value_width, span, one, micro)
            place_decays(rates, lead, decay, token, rows)
            fill_fading(since, until, between, rates, 0, span, chunk, running)
            if stop > first:
                transpose_rows(keys_t, chunk, keys, 0, head_width, span, one, sizes.lanes, micro)
                weigh_pairs(between, between, scales, token * levels, levels, heights, lead, span, chunk)
            for group in range(groups if stop > first else 0):
                line, asked = head * groups + group, max(start - first, 0)
                before = lead + max(first - start, 0)
                place_rows(queries, head_width, before, q, q_at[line] + asked * q_step, q_step, span - before, sizes.head_dim, one,
                           chunk, micro)
                product_set(scores, 0, chunk, micro, queries, 0, head_width, 1, keys_t, head_width * micro, span, span, sizes.head_dim,
                            micro, -chunk, 0)
                fade(scores, between, span, chunk, micro)
                read_pairs(tile, scores, x, span, sizes)
                for level in range(1, depth):
                    if place[level] >= 0:
                        fill_weights(weights, since, factors[level], scales, token * levels, levels, level, grown, lead, span)
                        read_node(tile, queries, nodes, place[level] * size, weights, span, sizes)
                at = (line * sizes.q_len + asked) * sizes.value_dim
                store_rows(out, at, tile[before * value_width :], value_width, span - before, sizes.value_dim, number(scale), micro)
            for level in range(1, depth):
                factors[level] *= running[0] * rates[0]
            leaf = free_node(place)
            fill_leaf(nodes, leaf * size, micro, head_width * micro, keys, keys_t, until, x, span, sizes)
            place[0], factors[0], start = leaf, 1.0, stop
        for level in range(depth):
            if place[level] >= 0 and not all_finite(nodes, place[level] * size, size):
                faults[head] = 1
        for level in range(depth if last.size else 0):
            only_level(queries, keys, head_width, span, heights, level)
            fill_leaf(state, 0, micro, head_width * micro, queries, keys_t, until, x, span, sizes)
            for other in range(1, depth):
                if place[other] >= 0 and max(other, grown[span - 1]) == level:
                    add_scaled(state, 0, nodes, place[other] * size, number(factors[other]), size)
            store_state(last, (head * depth + level) * entries, state, head_width, sizes.head_dim, sizes.value_dim, micro)
