"""The backward of a state whose channels fade by themselves."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.bonus import bonus_slopes
from tinyattn.kernels.states.channel_slopes import decay_slopes, own_slopes, read_before_slopes, reader_slopes, state_slope
from tinyattn.kernels.states.channels import add_product, fade_state, faded_rows, fill_channels, times
from tinyattn.kernels.states.chunk import add_tokens, end_of_chunk, through_keys, through_reads, through_state
from tinyattn.kernels.states.rows import add_all, load_rows, load_state, store_rows, store_state, turn_state
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_add
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_row, transpose_rows


@inlined
def fill_channel_states(states, starts, head, initial, x, x_rows, keys, faded, decay, since, until, within, ahead, inverse, shift,
                        spare, k, k_at, k_step, v, v_at, v_step, log_decay, far, sizes):
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
            fill_channels(decay, since, until, within, ahead, inverse, far, log_decay, (head * sizes.kv_len + start) * sizes.head_dim,
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
def channel_backward(counter, sizes, scale, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, log_decay, far, bonus, initial,
                     d_out, d_last, d_q, d_k, d_v, d_log_decay, d_bonus, d_initial):
    """Fills the gradients of all that `channel_forward` reads; a task is one kv head, and d_bonus has a row per task."""
    number = q.dtype.type
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    wide, tall, one, size = chunk * head_width, chunk * value_width, number(1), head_width * value_width
    decay, since, until, within, ahead, inverse = (np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype),
                                                   np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype))
    # One row more, as in the forward.
    queries, faded, d_queries = (np.zeros(wide + head_width, q.dtype), np.zeros(wide + head_width, q.dtype),
                                 np.zeros(wide + head_width, q.dtype))
    keys, kept, kept_t, divided, d_keys, d_rest, d_kept = (np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype),
                                                           np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype),
                                                           np.zeros(wide, q.dtype))
    panels, flow, later, own = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(chunk, q.dtype)
    x, x_rows, x_t, d_x = np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype)
    d_tile, d_panels, gained = np.zeros(tall + value_width, q.dtype), np.zeros(tall + micro, q.dtype), np.zeros(head_width, q.dtype)
    key, ones, shift, spare = (np.zeros(head_width, q.dtype), np.ones(head_width, q.dtype), np.zeros(head_width, q.dtype),
                               np.zeros(head_width, q.dtype))
    scores, d_scores = np.zeros(chunk * chunk, q.dtype), np.zeros(chunk * chunk, q.dtype)
    state_t, d_state, d_state_t = np.zeros(size, q.dtype), np.zeros(size, q.dtype), np.zeros(size, q.dtype)
    bridge, total, gains = np.zeros(head_width), np.zeros(head_width), np.zeros(head_width)
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    most = first // chunk + sizes.q_len // chunk + 2
    states, starts = np.zeros(most * size, q.dtype), np.zeros(most + 1, np.int64)
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        count = fill_channel_states(states, starts, head, initial, x, x_rows, keys, faded, decay, since, until, within, ahead, inverse,
                                    shift, spare, k, k_at, k_step, v, v_at, v_step, log_decay, far, sizes)
        load_state(d_state, head_width, d_last, head * sizes.head_dim * sizes.value_dim, sizes.head_dim, sizes.value_dim, micro)
        for n in range(count - 1, -1, -1):
            start, state = starts[n], states[n * size : (n + 1) * size]
            rows, token = starts[n + 1] - start, head * sizes.kv_len + start
            load_rows(keys, head_width, chunk, k, k_at[head] + start * k_step, k_step, rows, sizes.head_dim, one, micro)
            load_rows(x_rows, value_width, chunk, v, v_at[head] + start * v_step, v_step, rows, sizes.value_dim, one, micro)
            transpose_rows(x_t, chunk, x_rows, 0, value_width, rows, one, sizes.lanes, micro)
            gentle = fill_channels(decay, since, until, within, ahead, inverse, far, log_decay, token * sizes.head_dim, rows, sizes,
                                   shift, spare)
            if gentle:
                faded_rows(kept, keys, inverse, rows, head_width)
                transpose_rows(kept_t, chunk, kept, 0, head_width, rows, one, sizes.lanes, micro)
                pack_rows(divided, chunk, kept, 0, head_width, rows, one, micro)
            turn_state(state_t, state, head_width, value_width, sizes.lanes, micro)
            turn_state(d_state_t, d_state, head_width, value_width, sizes.lanes, micro)
            through_state(d_rest, x_rows, d_state_t, rows, sizes)
            faded_rows(d_rest, d_rest, until, rows, head_width)
            times(later, 0, keys, 0, d_rest, 0, rows * head_width)
            faded_rows(faded, keys, until, rows, head_width)
            through_keys(d_x, faded, d_state, rows, sizes)
            state_slope(bridge, since, (rows - 1) * head_width, state_t, d_state_t, head_width, value_width, micro, shift, spare)
            fade_state(d_state, since, (rows - 1) * head_width, head_width, value_width, micro)
            for at in range(rows * head_width):
                d_keys[at] = flow[at] = 0
            for group in range(groups if start >= first else 0):
                line = head * groups + group
                at = line * sizes.q_len + start - first
                load_rows(queries, head_width, chunk + 1, q, q_at[line] + (start - first) * q_step, q_step, rows, sizes.head_dim,
                          number(scale), micro)
                load_rows(d_tile, value_width, chunk, d_out, at * sizes.value_dim, sizes.value_dim, rows, sizes.value_dim, one, micro)
                pack_rows(d_panels, chunk, d_tile, 0, value_width, rows, one, micro)
                if bonus is None:
                    through_reads(d_queries, d_tile, state_t, rows, sizes)
                    faded_rows(faded, queries, since, rows, head_width)
                    add_tokens(d_state, faded, d_panels, rows, sizes)
                    if not gentle:
                        faded_rows(d_queries, d_queries, since, rows, head_width)
                    reader_slopes(d_x, d_queries, d_keys, own, scores, d_scores, queries, faded, d_tile, d_panels, x_t, keys, kept_t,
                                  divided, kept, d_kept, panels, decay, within, ahead, key, ones, rows, gentle, far, False,
                                  sizes)
                    if gentle:
                        faded_rows(d_queries, d_queries, since, rows, head_width)
                    add_product(flow, 0, queries, 0, d_queries, 0, one, rows * head_width)
                    own_slopes(d_queries, d_rest, own, queries, keys, ones, rows, head_width)
                else:
                    read_before_slopes(d_x, d_queries, d_keys, d_rest, d_state, flow, own, scores, d_scores, queries, faded, d_tile,
                                       d_panels, x_t, keys, kept_t, divided, kept, d_kept, panels, state_t, decay, since, within,
                                       ahead, key, ones, rows, gentle, far, False, 1, sizes)
                    bonus_slopes(d_x, d_queries, d_rest, gained, queries, keys, x_rows, d_tile, bonus,
                                 head % sizes.kv_heads * sizes.head_dim, rows, sizes)
                store_rows(d_q, at * sizes.head_dim, d_queries, head_width, rows, sizes.head_dim, number(scale), micro)
            if bonus is not None:
                for d in range(sizes.head_dim):  # those of a chunk are summed first: in a long sum small numbers are rounded away
                    gains[d] += gained[d]
                    gained[d] = 0
            if gentle:
                faded_rows(d_keys, d_keys, inverse, rows, head_width)
            add_product(flow, 0, keys, 0, d_keys, 0, -one, rows * head_width)
            decay_slopes(d_log_decay, token, decay, flow, later, bridge, total, rows, head_width, sizes.head_dim)
            add_all(d_keys, d_rest, rows * head_width)
            store_rows(d_k, token * sizes.head_dim, d_keys, head_width, rows, sizes.head_dim, one, micro)
            for i in range(rows):
                put_row(d_v, (token + i) * sizes.value_dim, sizes.value_dim, d_x, i * micro, chunk * micro, one, micro)
        if bonus is not None:
            for d in range(sizes.head_dim):
                d_bonus[head * sizes.head_dim + d] = gains[d]
                gains[d] = 0
        store_state(d_initial, head * sizes.head_dim * sizes.value_dim, d_state, head_width, sizes.head_dim, sizes.value_dim, micro)
