"""The backward of states of levels: their nodes are computed again, then the chunks are walked from the last to the first."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.chunk import through_scores
from tinyattn.kernels.states.fading import decay_gradient, fade, fill_fading, flow_of
from tinyattn.kernels.states.level_slopes import (
    crossing,
    pair_slopes,
    through_closing,
    through_last,
    through_leaf,
    through_node,
    through_weights,
)
from tinyattn.kernels.states.level_tree import (
    add_closed,
    closed_at,
    fill_heights,
    fill_leaf,
    fill_until,
    fill_weights,
    only_level,
    place_decays,
    place_rows,
    weigh_pairs,
)
from tinyattn.kernels.states.rows import dot, load_rows, scale_rows, store_rows
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_add, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_row, transpose_rows


@inlined
def fill_nodes(nodes, places, factors, head, seen, depth, initial, olds, x, x_rows, keys, faded, until, rates, k, k_at, k_step, v,
               v_at, v_step, decay, sizes):
    """Fills the nodes before all chunks, row by row, and of each chunk the places and the fading of the nodes that it reads.

    Returns how many chunks there are. Of the chunk after the last there are the places of the nodes in the end.
    """
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    one, size, count, start = keys.dtype.type(1), head_width * value_width, 0, 0
    entries = sizes.head_dim * sizes.value_dim
    for level in range(depth):
        places[level], factors[level] = (level if (0 if seen else 1) <= level < olds else -1), 1.0
    for level in range(olds):
        load_rows(nodes[level * size : (level + 1) * size], value_width, head_width, initial, (head * olds + level) * entries,
                  sizes.value_dim, sizes.head_dim, sizes.value_dim, one, micro)
    while start < sizes.kv_len:
        lead = (seen + start) % chunk
        rows, here = min(chunk - lead, sizes.kv_len - start), count * depth
        if seen + start:
            add_closed(nodes, size, places[here : here + depth], factors[here : here + depth], closed_at(seen + start))
        place_decays(rates, lead, decay, head * sizes.kv_len + start, rows)
        total = fill_until(until, rates, lead + rows)
        for level in range(depth):
            places[here + depth + level], factors[here + depth + level] = places[here + level], factors[here + level] * total
        count += 1
        if start + rows < sizes.kv_len:
            place_rows(keys, head_width, lead, k, k_at[head] + start * k_step, k_step, rows, sizes.head_dim, one, chunk, micro)
            place_rows(x_rows, value_width, lead, v, v_at[head] + start * v_step, v_step, rows, sizes.value_dim, one, chunk, micro)
            pack_rows(x, chunk, x_rows, 0, value_width, lead + rows, one, micro)
            leaf = olds + count - 1
            fill_leaf(nodes, leaf * size, value_width, micro, keys, faded, until, x, lead + rows, sizes)
            places[here + depth], factors[here + depth] = leaf, 1.0
        start += rows
    return count


@compiled
def level_backward(counter, sizes, scale, seen, depth, grown, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, decay, scales, levels,
                   initial, olds, d_out, d_last, d_q, d_k, d_v, d_log_decay, d_scales, d_initial):
    """Fills the gradients of all that `level_forward` reads; a task is one kv head. d_scales must be zeros.

    As there, with the node of level l before the chunk as S_l: dQ = dM K + sum_l diag(weights_l) dO S_l^T, dS_l += Q^T diag(weights_l)
    dO, and the weights' own gradient is q_i^T S_l dO_i. A chunk's own node has the gradient of the node that it becomes a part of, and
    d_nodes[l] is that of the node that level l has. Where there is a d_last, the rows of the last chunk read theirs of it.
    """
    number = q.dtype.type
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    one, size, entries = number(1), head_width * value_width, sizes.head_dim * sizes.value_dim
    since, until, weights, heights = (np.ones(chunk, q.dtype), np.ones(chunk, q.dtype), np.zeros(chunk, q.dtype),
                                      np.zeros(chunk, np.int64))
    running, rates, flow, later, total = np.ones(chunk), np.ones(chunk), np.zeros(chunk), np.zeros(chunk), np.zeros(chunk, q.dtype)
    between, weighed = np.zeros(chunk * chunk, q.dtype), np.zeros(chunk * chunk, q.dtype)
    scores, d_scores = np.zeros(chunk * chunk, q.dtype), np.zeros(chunk * chunk, q.dtype)
    wide, tall = chunk * head_width, chunk * value_width
    queries, query_panels, queries_t = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype)
    d_queries, d_queries_t, scaled_t = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype)
    keys, key_panels, keys_t = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype)
    d_keys, x_rows, x_t, d_x = np.zeros(wide, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype)
    d_tile, d_panels, d_tile_t = np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype)
    d_leaf, d_leaf_t, d_leaf_panels = np.zeros(size, q.dtype), np.zeros(size, q.dtype), np.zeros(size, q.dtype)
    most, groups, first = sizes.kv_len // chunk + 2, sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    nodes, d_nodes = np.zeros((olds + most) * size, q.dtype), np.zeros(depth * size, q.dtype)
    places, factors = np.zeros((most + 1) * depth, np.int64), np.zeros((most + 1) * depth)
    fill_heights(heights)
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        count = fill_nodes(nodes, places, factors, head, seen, depth, initial, olds, d_panels, x_rows, keys, scaled_t, until, rates, k,
                           k_at, k_step, v, v_at, v_step, decay, sizes)
        for at in range(depth * size):
            d_nodes[at] = 0
        stop = sizes.kv_len
        for n in range(count - 1, -1, -1):
            start = max(0, (seen // chunk + n) * chunk - seen)
            lead, rows, token, here = (seen + start) % chunk, stop - start, head * sizes.kv_len + start, n * depth
            span, ends = lead + rows, n == count - 1
            place_rows(keys, head_width, lead, k, k_at[head] + start * k_step, k_step, rows, sizes.head_dim, one, chunk, micro)
            place_rows(x_rows, value_width, lead, v, v_at[head] + start * v_step, v_step, rows, sizes.value_dim, one, chunk, micro)
            place_decays(rates, lead, decay, token, rows)
            fill_fading(since, until, between, rates, 0, span, chunk, running)
            for at in range(wide):
                d_keys[at] = 0
            for at in range(tall):
                d_x[at] = 0
            written, written_rows = (queries, d_tile) if ends else (keys, x_rows)
            for level in range((depth if d_last.size else 0) if ends else 1):
                if ends:
                    load_rows(d_leaf, value_width, head_width, d_last, (head * depth + level) * entries, sizes.value_dim,
                              sizes.head_dim, sizes.value_dim, one, micro)
                    through_last(d_nodes, size, d_leaf, places, factors, here, depth, level, grown[span - 1])
                    only_level(queries, keys, head_width, span, heights, level)
                    only_level(d_tile, x_rows, value_width, span, heights, level)
                else:
                    through_closing(d_nodes, size, d_leaf, places, factors, here, running[0] * rates[0], closed_at(seen + stop))
                through_leaf(d_keys, d_x, d_leaf, d_leaf_t, d_leaf_panels, written, scaled_t, written_rows, until, span, sizes)
            scale_rows(d_keys, head_width, span, until, micro)
            for i in range(span):
                flow[i], later[i] = 0, dot(keys, i * head_width, d_keys, i * head_width, head_width)
            bridge = crossing(nodes, d_nodes, size, places, here, depth)
            asks = stop > first
            if asks:
                transpose_rows(x_t, chunk, x_rows, 0, value_width, span, one, sizes.lanes, micro)
                pack_rows(key_panels, chunk, keys, 0, head_width, span, one, micro)
                transpose_rows(keys_t, chunk, keys, 0, head_width, span, one, sizes.lanes, micro)
                weigh_pairs(weighed, between, scales, token * levels, levels, heights, lead, span, chunk)
            for group in range(groups if asks else 0):
                line, asked, before = head * groups + group, max(start - first, 0), lead + max(first - start, 0)
                at = line * sizes.q_len + asked
                place_rows(queries, head_width, before, q, q_at[line] + asked * q_step, q_step, span - before, sizes.head_dim, one,
                           chunk, micro)
                place_rows(d_tile, value_width, before, d_out, at * sizes.value_dim, sizes.value_dim, span - before, sizes.value_dim,
                           number(scale), chunk, micro)
                pack_rows(query_panels, chunk, queries, 0, head_width, span, one, micro)
                pack_rows(d_panels, chunk, d_tile, 0, value_width, span, one, micro)
                transpose_rows(queries_t, chunk, queries, 0, head_width, span, one, sizes.lanes, chunk)
                transpose_rows(d_tile_t, chunk, d_tile, 0, value_width, span, one, sizes.lanes, micro)
                product_set(scores, 0, chunk, micro, queries, 0, head_width, 1, keys_t, head_width * micro, span, span, sizes.head_dim,
                            micro, -chunk, 0)
                product_set(d_scores, 0, chunk, micro, d_tile, 0, value_width, 1, x_t, value_width * micro, span, span,
                            sizes.value_dim, micro, -chunk, 0)
                pair_slopes(d_scales, token * levels, levels, scores, between, d_scores, heights, lead, span, chunk)
                fade(scores, weighed, span, chunk, micro)
                flow_of(flow, scores, d_scores, span, chunk)
                fade(d_scores, weighed, span, chunk, micro)
                for place in range(wide):
                    d_queries_t[place] = 0
                for level in range(1, depth):
                    if places[here + level] >= 0:
                        fill_weights(weights, since, factors[here + level], scales, token * levels, levels, level, grown, lead, span)
                        through_node(d_nodes, level * size, d_queries_t, total, scaled_t, queries_t, weights, nodes,
                                     places[here + level] * size, d_tile_t, d_panels, span, sizes)
                        through_weights(d_scales, token * levels, levels, flow, total, weights, since, factors[here + level], level,
                                        grown, lead, span)
                transpose_rows(d_queries, head_width, d_queries_t, 0, chunk, head_width, one, sizes.lanes, head_width)
                product_add(d_queries, 0, head_width, micro, d_scores, 0, chunk, 1, key_panels, chunk * micro, span, head_width, span,
                            micro, -chunk, 0)
                store_rows(d_q, at * sizes.head_dim, d_queries[before * head_width :], head_width, span - before, sizes.head_dim, one,
                           micro)
                through_scores(d_x, scores, d_panels, span, sizes)
                product_add(d_keys, 0, head_width, micro, d_scores, 0, 1, chunk, query_panels, chunk * micro, span, head_width, span,
                            micro, 0, chunk)
            for i in range(rows):
                put_row(d_v, (token + i) * sizes.value_dim, sizes.value_dim, d_x, (lead + i) * micro, chunk * micro, one, micro)
            store_rows(d_k, token * sizes.head_dim, d_keys[lead * head_width :], head_width, rows, sizes.head_dim, one, micro)
            decay_gradient(d_log_decay, token, decay, flow[lead:], later[lead:], bridge, rows)
            stop = start
        for level in range(olds):
            source = max(level, closed_at(seen)) if seen else level
            store_rows(d_initial, (head * olds + level) * entries, d_nodes[source * size : (source + 1) * size], value_width,
                       sizes.head_dim, sizes.value_dim, one, micro)
            for at in range(0 if level or seen else entries):
                d_initial[head * olds * entries + at] = 0
