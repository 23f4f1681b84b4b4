"""The backward of a state whose channels fade by themselves."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.channel_slopes import block_slopes, decay_slopes, state_slope
from tinyattn.kernels.states.channels import (
    BLOCK,
    add_product,
    advance,
    channel_scores,
    fade_state,
    faded_rows,
    fill_channels,
    keep_below,
    times,
    whole_scores,
)
from tinyattn.kernels.states.chunk import add_tokens, end_of_chunk, through_keys, through_reads, through_scores, through_state
from tinyattn.kernels.states.rows import add_all, load_rows, load_state, store_rows, store_state, turn_state
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_add, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_row, transpose_rows


@inlined
def fill_channel_states(states, starts, head, initial, x, x_rows, keys, faded, decay, since, until, within, ahead, inverse, shift,
                        spare, k, k_at, k_step, v, v_at, v_step, log_decay, sizes):
    """Fills states with the state before each chunk and starts with the chunk's first token; returns how many chunks there are."""
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    one, size, count, start = keys.dtype.type(1), head_width * value_width, 0, 0
    load_state(states[:size], head_width, initial, head * sizes.head_dim * sizes.value_dim, sizes.head_dim, sizes.value_dim, micro)
    while start < sizes.kv_len:
        stop = end_of_chunk(start, sizes)
        rows, starts[count], count = stop - start, start, count + 1
        starts[count] = stop
        if stop < sizes.kv_len:
            load_rows(keys, head_width, chunk, k, k_at[head] + start * k_step, k_step, rows, sizes.head_dim, one, micro)
            load_rows(x_rows, value_width, chunk, v, v_at[head] + start * v_step, v_step, rows, sizes.value_dim, one, micro)
            pack_rows(x, chunk, x_rows, 0, value_width, rows, one, micro)
            fill_channels(decay, since, until, within, ahead, inverse, log_decay, (head * sizes.kv_len + start) * sizes.head_dim,
                          rows, sizes, shift, spare)
            after = states[count * size : (count + 1) * size]
            for place in range(size):  # a copy of a slice would need counts of references
                after[place] = states[(count - 1) * size + place]
            fade_state(after, since, (rows - 1) * head_width, head_width, value_width, micro)
            faded_rows(faded, keys, until, rows, head_width)
            product_add(after, 0, micro, head_width * micro, faded, 0, 1, head_width, x, chunk * micro, head_width, value_width, rows,
                        micro, -chunk - head_width, chunk)
        start = stop
    return count


@compiled
def channel_backward(counter, sizes, scale, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, log_decay, initial, d_out, d_last,
                     d_q, d_k, d_v, d_log_decay, d_initial):
    """Fills the gradients of all that `channel_forward` reads; a task is one kv head.

    The gradients of the scores, dM = dO V^T, reach a query and a key through the start of the query's block, as the scores did:
    upwards over the blocks dQ gains dM times the keys kept until there, downwards the kept keys gain dM^T times the queries.
    """
    number = q.dtype.type
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    wide, tall, one, size = chunk * head_width, chunk * value_width, number(1), head_width * value_width
    decay, since, until, within, ahead, inverse = (np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype),
                                                   np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype))
    queries, keys, faded, kept, kept_t = (np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype),
                                          np.zeros(wide, q.dtype), np.zeros(wide, q.dtype))
    panels, d_queries, d_keys, d_state_keys, d_kept = (np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype),
                                                       np.zeros(wide, q.dtype), np.zeros(wide, q.dtype))
    query_panels, own = np.zeros(wide, q.dtype), np.zeros(chunk, q.dtype)
    x, x_rows, x_t, d_x, d_tile, d_panels = (np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype),
                                             np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype))
    key, ones, shift, spare = (np.zeros(head_width, q.dtype), np.ones(head_width, q.dtype), np.zeros(head_width, q.dtype),
                               np.zeros(head_width, q.dtype))
    scores, d_scores = np.zeros(chunk * chunk, q.dtype), np.zeros(chunk * chunk, q.dtype)
    d_own, flow = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype)
    state_t, d_state, d_state_t = np.zeros(size, q.dtype), np.zeros(size, q.dtype), np.zeros(size, q.dtype)
    bridge, total = np.zeros(head_width), np.zeros(head_width)
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    most = first // chunk + sizes.q_len // chunk + 2
    states, starts = np.zeros(most * size, q.dtype), np.zeros(most + 1, np.int64)
    everywhere, nowhere = chunk + head_width + value_width, -chunk - head_width - value_width
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        count = fill_channel_states(states, starts, head, initial, x, x_rows, keys, faded, decay, since, until, within, ahead, inverse,
                                    shift, spare, k, k_at, k_step, v, v_at, v_step, log_decay, sizes)
        load_state(d_state, head_width, d_last, head * sizes.head_dim * sizes.value_dim, sizes.head_dim, sizes.value_dim, micro)
        for n in range(count - 1, -1, -1):
            start, state = starts[n], states[n * size : (n + 1) * size]
            rows, token = starts[n + 1] - start, head * sizes.kv_len + start
            load_rows(keys, head_width, chunk, k, k_at[head] + start * k_step, k_step, rows, sizes.head_dim, one, micro)
            load_rows(x_rows, value_width, chunk, v, v_at[head] + start * v_step, v_step, rows, sizes.value_dim, one, micro)
            transpose_rows(x_t, chunk, x_rows, 0, value_width, rows, one, sizes.lanes, micro)
            gentle = fill_channels(decay, since, until, within, ahead, inverse, log_decay, token * sizes.head_dim, rows, sizes, shift,
                                   spare)
            if gentle:
                faded_rows(kept, keys, inverse, rows, head_width)
                transpose_rows(kept_t, chunk, kept, 0, head_width, rows, one, sizes.lanes, micro)
                pack_rows(panels, chunk, kept, 0, head_width, rows, one, micro)
            turn_state(state_t, state, head_width, value_width, sizes.lanes, micro)
            turn_state(d_state_t, d_state, head_width, value_width, sizes.lanes, micro)
            through_state(d_state_keys, x_rows, d_state_t, rows, sizes)
            faded_rows(d_state_keys, d_state_keys, until, rows, head_width)
            faded_rows(faded, keys, until, rows, head_width)
            through_keys(d_x, faded, d_state, rows, sizes)
            state_slope(bridge, since, (rows - 1) * head_width, state, d_state, head_width, value_width, micro)
            fade_state(d_state, since, (rows - 1) * head_width, head_width, value_width, micro)
            for at in range(rows * head_width):
                d_keys[at] = d_own[at] = flow[at] = 0
            for group in range(groups if start >= first else 0):
                line = head * groups + group
                at = line * sizes.q_len + start - first
                load_rows(queries, head_width, chunk, q, q_at[line] + (start - first) * q_step, q_step, rows, sizes.head_dim,
                          number(scale), micro)
                load_rows(d_tile, value_width, chunk, d_out, at * sizes.value_dim, sizes.value_dim, rows, sizes.value_dim, one, micro)
                pack_rows(d_panels, chunk, d_tile, 0, value_width, rows, one, micro)
                through_reads(d_scores, d_queries, d_tile, x_t, state_t, rows, sizes)
                for i in range(rows):
                    own[i] = d_scores[i * chunk + i]
                if gentle:
                    keep_below(d_scores, ones, 0, rows, chunk, micro)
                    product_add(d_queries, 0, head_width, micro, d_scores, 0, chunk, 1, panels, chunk * micro, rows, head_width, rows,
                                micro, -chunk, 0)
                faded_rows(d_queries, d_queries, since, rows, head_width)
                faded_rows(faded, queries, since, rows, head_width)
                add_tokens(d_state, faded, d_panels, rows, sizes)
                if gentle:
                    whole_scores(scores, faded, kept_t, ones, rows, sizes)
                else:
                    faded_rows(faded, queries, within, rows, head_width)
                    for block in range(0, rows, BLOCK):
                        there = min(BLOCK, rows - block)
                        channel_scores(scores, queries, faded, kept, kept_t, keys, decay, key, ones, block, rows, sizes)
                        if block:
                            pack_rows(panels, chunk, kept, 0, head_width, block, one, micro)
                            product_set(d_kept, block * head_width, head_width, micro, d_scores, block * chunk, chunk, 1, panels,
                                        chunk * micro, there, head_width, block, micro, nowhere, everywhere)
                            add_product(d_queries, block * head_width, d_kept, block * head_width, within, block * head_width, one,
                                        there * head_width)
                        advance(kept, keys, within, ahead, block, rows, head_width)
                through_scores(d_x, scores, d_panels, rows, sizes)
                for at_ in range(d_kept.size):
                    d_kept[at_] = 0
                if gentle:
                    pack_rows(query_panels, chunk, faded, 0, head_width, rows, one, micro)
                    product_add(d_kept, 0, head_width, micro, d_scores, 0, 1, chunk, query_panels, chunk * micro, rows, head_width,
                                rows, micro, 0, chunk)
                    add_product(d_keys, 0, d_kept, 0, inverse, 0, one, rows * head_width)
                else:
                    for block in range((rows - 1) // BLOCK * BLOCK, -1, -BLOCK):
                        there = min(BLOCK, rows - block)
                        end = (block + there - 1) * head_width
                        add_product(d_keys, block * head_width, d_kept, block * head_width, ahead, block * head_width, one,
                                    there * head_width)
                        for j in range(block):
                            times(d_kept, j * head_width, d_kept, j * head_width, within, end, head_width)
                        if block:
                            pack_rows(panels, chunk, faded, block * head_width, head_width, there, one, micro)
                            product_add(d_kept, 0, head_width, micro, d_scores, block * chunk, 1, chunk, panels, chunk * micro, block,
                                        head_width, there, micro, nowhere, everywhere)
                        block_slopes(d_queries, d_keys, d_scores, queries, keys, decay, key, ones, block, rows, chunk, head_width)
                add_product(flow, 0, queries, 0, d_queries, 0, one, rows * head_width)
                for i in range(rows):
                    add_product(d_queries, i * head_width, keys, i * head_width, ones, 0, own[i], head_width)
                store_rows(d_q, at * sizes.head_dim, d_queries, head_width, rows, sizes.head_dim, number(scale), micro)
                for i in range(rows):
                    add_product(d_own, i * head_width, queries, i * head_width, ones, 0, own[i], head_width)
            add_product(flow, 0, keys, 0, d_keys, 0, -one, rows * head_width)
            decay_slopes(d_log_decay, token, decay, flow, keys, d_state_keys, bridge, total, rows, head_width, sizes.head_dim)
            add_all(d_keys, d_state_keys, rows * head_width)
            add_all(d_keys, d_own, rows * head_width)
            store_rows(d_k, token * sizes.head_dim, d_keys, head_width, rows, sizes.head_dim, one, micro)
            for i in range(rows):
                put_row(d_v, (token + i) * sizes.value_dim, sizes.value_dim, d_x, i * micro, chunk * micro, one, micro)
        store_state(d_initial, head * sizes.head_dim * sizes.value_dim, d_state, head_width, sizes.head_dim, sizes.value_dim, micro)
