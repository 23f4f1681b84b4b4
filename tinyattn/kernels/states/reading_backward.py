"""The backward of a state of which each token reads: its states are computed again, then the chunks are walked from the last."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.channel_slopes import decay_slopes, own_slopes, read_before_slopes, reader_slopes, state_slope
from tinyattn.kernels.states.channels import (
    add_product,
    all_scores,
    clear_above,
    fade_reads,
    fade_state,
    faded_rows,
    fill_channels,
)
from tinyattn.kernels.states.chunk import add_tokens, end_of_chunk, through_keys, through_reads, through_state
from tinyattn.kernels.states.onward import onward
from tinyattn.kernels.states.reading import add_state
from tinyattn.kernels.states.reading_slopes import store_slopes
from tinyattn.kernels.states.reading_tokens import load_values, load_vectors, sides_of
from tinyattn.kernels.states.rows import add_all, load_rows, load_state, store_rows, store_state, turn_state
from tinyattn.kernels.states.solve import substitute_up
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_row, transpose_rows


@inlined
def load_added(x_rows, written, v, v_at, v_step, read, write, beta, token, rows, sizes):
    """Fills x_rows [sides][chunk][value_width] with what is written along each side of the keys."""
    load_rows(x_rows, sizes.value_width, sizes.kv_tile, written, token * sizes.value_dim, sizes.value_dim, rows, sizes.value_dim,
              x_rows.dtype.type(1), sizes.micro_columns)
    if sides_of(read, write, beta) == 2:
        load_values(onward(x_rows, sizes.kv_tile * sizes.value_width), v, v_at, v_step, read, beta, token, rows, sizes)


@inlined
def fill_reading_states(states, starts, head, initial, x, x_rows, keys, reads, faded, decay, since, until, tables, inverse, shift,
                        spare, k, k_at, k_step, v, v_at, v_step, log_decay, far, read, write, beta, written, sizes):
    """Fills states with the state before each chunk and starts with the chunk's first token; returns how many chunks there are."""
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    one, size, count, start, sides = keys.dtype.type(1), head_width * value_width, 0, 0, sides_of(read, write, beta)
    load_state(states[:size], head_width, initial, head * sizes.head_dim * sizes.value_dim, sizes.head_dim, sizes.value_dim, micro)
    while start < sizes.kv_len:
        stop = end_of_chunk(start, sizes)
        rows, token, starts[count], count = stop - start, head * sizes.kv_len + start, start, count + 1
        starts[count] = stop
        if stop < sizes.kv_len:
            fill_channels(decay, since, until, tables, tables, inverse, far, log_decay, token * sizes.head_dim, rows, sizes, shift,
                          spare)
            load_vectors(keys, reads, decay, k, k_at[head] + start * k_step, k_step, read, write, beta, token, rows, sizes)
            load_added(x_rows, written, v, v_at[head] + start * v_step, v_step, read, write, beta, token, rows, sizes)
            after = states[count * size : (count + 1) * size]
            for place in range(size):  # a copy of a slice would need counts of references
                after[place] = states[(count - 1) * size + place]
            fade_state(after, since, (rows - 1) * head_width, head_width, value_width, micro)
            for side in range(sides):
                pack_rows(x, chunk, onward(x_rows, side * chunk * value_width), 0, value_width, rows, one, micro)
                add_state(after, onward(keys, side * chunk * head_width), until, faded, x, rows, sizes)
        start = stop
    return count


@compiled
def reading_backward(counter, sizes, scale, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, log_decay, far, read, write, beta,
                     written, initial, d_out, d_last, d_q, d_k, d_v, d_log_decay, d_read, d_write, d_beta, d_initial):
    """Fills the gradients of all that `reading` reads; a task is one kv head. Of read, write or beta that is None nothing is compiled.

    With dY and dV as far as queries and later chunks give them, (I - (A, B))^T dY' = dY, and dV += (A, K)^T dY'. From there on the
    tokens are queries that read before they write, along A, and whose outputs have the gradients dY'.
    """
    number = q.dtype.type
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    wide, tall, one, size, sides = (chunk * head_width, chunk * value_width, number(1), head_width * value_width,
                                    sides_of(read, write, beta))
    decay, since, until, within, ahead, inverse = (np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype),
                                                   np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype))
    queries, d_queries, faded, kept, d_kept, panels = (np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype),
                                                       np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype))
    keys, keys_t, divided, d_keys, d_rest = (np.zeros(sides * wide, q.dtype), np.zeros(sides * wide, q.dtype),
                                             np.zeros(sides * wide, q.dtype), np.zeros(sides * wide, q.dtype),
                                             np.zeros(sides * wide, q.dtype))
    # One row more, as in the forward.
    reads, recent, d_reads = (np.zeros(wide + head_width, q.dtype), np.zeros(wide + head_width, q.dtype),
                              np.zeros(wide + head_width, q.dtype))
    d_tile, d_panels = np.zeros(tall + value_width, q.dtype), np.zeros(tall + micro, q.dtype)
    x, x_rows, x_t, d_x = (np.zeros(tall, q.dtype), np.zeros(sides * tall, q.dtype), np.zeros(sides * tall, q.dtype),
                           np.zeros(sides * tall, q.dtype))
    key, ones, shift, spare = (np.zeros(head_width, q.dtype), np.ones(head_width, q.dtype), np.zeros(head_width, q.dtype),
                               np.zeros(head_width, q.dtype))
    scores, d_scores, lower = (np.zeros(chunk * chunk, q.dtype), np.zeros(chunk * chunk, q.dtype),
                               np.zeros((chunk + ROWS) * chunk, q.dtype))
    flow, later, own = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(2 * chunk, q.dtype)
    state_t, d_state, d_state_t = np.zeros(size, q.dtype), np.zeros(size, q.dtype), np.zeros(size, q.dtype)
    bridge, total = np.zeros(head_width), np.zeros(head_width)
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    most = first // chunk + sizes.q_len // chunk + 2
    states, starts = np.zeros(most * size, q.dtype), np.zeros(most + 1, np.int64)
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        count = fill_reading_states(states, starts, head, initial, x, x_rows, keys, reads, faded, decay, since, until, within, inverse,
                                    shift, spare, k, k_at, k_step, v, v_at, v_step, log_decay, far, read, write, beta, written,
                                    sizes)
        load_state(d_state, head_width, d_last, head * sizes.head_dim * sizes.value_dim, sizes.head_dim, sizes.value_dim, micro)
        for n in range(count - 1, -1, -1):
            start, state = starts[n], states[n * size : (n + 1) * size]
            rows, token = starts[n + 1] - start, head * sizes.kv_len + start
            gentle = fill_channels(decay, since, until, within, ahead, inverse, far, log_decay, token * sizes.head_dim, rows, sizes,
                                   shift, spare)
            load_vectors(keys, reads, decay, k, k_at[head] + start * k_step, k_step, read, write, beta, token, rows, sizes)
            load_added(x_rows, written, v, v_at[head] + start * v_step, v_step, read, write, beta, token, rows, sizes)
            turn_state(state_t, state, head_width, value_width, sizes.lanes, micro)
            turn_state(d_state_t, d_state, head_width, value_width, sizes.lanes, micro)
            for at in range(rows * head_width):
                flow[at] = later[at] = 0
            for at in range(d_keys.size):
                d_keys[at] = 0
            for side in range(sides):
                place, tall_place = side * wide, side * tall
                transpose_rows(onward(x_t, tall_place), chunk, onward(x_rows, tall_place), 0, value_width, rows, one, sizes.lanes,
                               micro)
                if gentle:
                    faded_rows(kept, onward(keys, place), inverse, rows, head_width)
                    transpose_rows(onward(keys_t, place), chunk, kept, 0, head_width, rows, one, sizes.lanes, micro)
                    pack_rows(onward(divided, place), chunk, kept, 0, head_width, rows, one, micro)
                through_state(onward(d_rest, place), onward(x_rows, tall_place), d_state_t, rows, sizes)
                faded_rows(onward(d_rest, place), onward(d_rest, place), until, rows, head_width)
                add_product(later, 0, keys, place, d_rest, place, one, rows * head_width)
                faded_rows(faded, onward(keys, place), until, rows, head_width)
                through_keys(onward(d_x, tall_place), faded, d_state, rows, sizes)
            state_slope(bridge, since, (rows - 1) * head_width, state_t, d_state_t, head_width, value_width, micro, shift, spare)
            fade_state(d_state, since, (rows - 1) * head_width, head_width, value_width, micro)
            for group in range(groups if start >= first else 0):
                line = head * groups + group
                place = line * sizes.q_len + start - first
                load_rows(queries, head_width, chunk, q, q_at[line] + (start - first) * q_step, q_step, rows, sizes.head_dim,
                          number(scale), micro)
                load_rows(d_tile, value_width, chunk, d_out, place * sizes.value_dim, sizes.value_dim, rows, sizes.value_dim, one,
                          micro)
                pack_rows(d_panels, chunk, d_tile, 0, value_width, rows, one, micro)
                through_reads(d_queries, d_tile, state_t, rows, sizes)
                faded_rows(faded, queries, since, rows, head_width)
                add_tokens(d_state, faded, d_panels, rows, sizes)
                if not gentle:
                    faded_rows(d_queries, d_queries, since, rows, head_width)
                for side in range(sides):
                    at, tall_at = side * wide, side * tall
                    faded_rows(faded, queries, since, rows, head_width)
                    reader_slopes(onward(d_x, tall_at), d_queries, onward(d_keys, at), onward(own, side * chunk), scores, d_scores,
                                  queries, faded, d_tile, d_panels, onward(x_t, tall_at), onward(keys, at), onward(keys_t, at),
                                  onward(divided, at), kept, d_kept, panels, decay, within, ahead, key, ones, rows, gentle, far,
                                  False, sizes)
                if gentle:
                    faded_rows(d_queries, d_queries, since, rows, head_width)
                add_product(flow, 0, queries, 0, d_queries, 0, one, rows * head_width)
                for side in range(sides):
                    own_slopes(d_queries, onward(d_rest, side * wide), onward(own, side * chunk), queries,
                               onward(keys, side * wide), ones, rows, head_width)
                store_rows(d_q, place * sizes.head_dim, d_queries, head_width, rows, sizes.head_dim, number(scale), micro)
            fade_reads(recent, reads, since, rows, head_width)
            all_scores(onward(lower, chunk), onward(reads, head_width), onward(recent, head_width), kept, keys_t, keys, decay,
                       within, ahead, key, ones, rows, gentle, far, sizes)
            clear_above(lower, rows, chunk)
            substitute_up(d_x, lower, rows, chunk, value_width, micro)
            for i in range(rows):
                put_row(d_tile, i * value_width, value_width, d_x, i * micro, chunk * micro, one, micro)
            pack_rows(d_panels, chunk, d_tile, 0, value_width, rows, one, micro)
            read_before_slopes(d_x, d_reads, d_keys, d_rest, d_state, flow, own, scores, d_scores, reads, recent, d_tile, d_panels,
                               x_t, keys, keys_t, divided, kept, d_kept, panels, state_t, decay, since, within, ahead, key, ones, rows,
                               gentle, far, True, sides, sizes)
            for side in range(sides):
                at = side * wide
                if gentle:
                    faded_rows(onward(d_keys, at), onward(d_keys, at), inverse, rows, head_width)
                add_product(flow, 0, keys, at, d_keys, at, -one, rows * head_width)
                add_all(onward(d_keys, at), onward(d_rest, at), rows * head_width)
            decay_slopes(d_log_decay, token, decay, flow, later, bridge, total, rows, head_width, sizes.head_dim)
            for i in range(rows):
                put_row(d_tile, i * value_width, value_width, onward(d_x, (sides - 1) * tall), i * micro, chunk * micro, one, micro)
            store_slopes(d_k, d_v, d_log_decay, d_read, d_write, d_beta, d_keys, d_reads, d_tile, reads, keys, decay, v,
                         v_at[head] + start * v_step, v_step, read, write, beta, token, rows, sizes)
        store_state(d_initial, head * sizes.head_dim * sizes.value_dim, d_state, head_width, sizes.head_dim, sizes.value_dim, micro)
