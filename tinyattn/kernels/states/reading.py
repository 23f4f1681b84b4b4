"""A state of which each token reads along one vector and writes along another, over chunks of tokens."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.channels import all_scores, clear_above, fade_reads, fade_state, faded_rows, fill_channels
from tinyattn.kernels.states.chunk import add_tokens, end_of_chunk, read_state, read_tokens
from tinyattn.kernels.states.onward import onward
from tinyattn.kernels.states.reading_tokens import load_values, load_vectors, sides_of
from tinyattn.kernels.states.rows import load_rows, load_state, store_rows, store_state
from tinyattn.kernels.states.solve import substitute_down
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_row, transpose_rows


@inlined
def add_state(state, keys, until, faded, x, rows, sizes):
    """Adds (K until)^T X to the state."""
    faded_rows(faded, keys, until, rows, sizes.head_width)
    add_tokens(state, faded, x, rows, sizes)


@compiled
def reading(counter, sizes, scale, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, log_decay, far, read, write, beta, initial, out,
            last, written):
    """Fills out and last as `channel_forward`, of a state of which each token reads; read, write and beta as `load_vectors` says.

    With A the read vectors faded until just before their tokens, B the write vectors, and the scores (A, K), (A, B) below the
    diagonal: Y = A S + (A, K) V + (A, B) Y, O = (Q since) S + (Q, K) V + (Q, B) Y, S' = total S + (K until)^T V + (B until)^T Y.
    Where B is K, X = V + Y takes the place of both: X = V + A S + (A, K) X. `written` keeps Y, or X. Of read, write or beta that is
    None, Numba compiles nothing.
    """
    number = q.dtype.type
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    wide, tall, one, sides = chunk * head_width, chunk * value_width, number(1), sides_of(read, write, beta)
    decay, since, until, within, ahead, inverse = (np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype),
                                                   np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype))
    queries, keys, keys_t, faded, kept = (np.zeros(wide, q.dtype), np.zeros(sides * wide, q.dtype), np.zeros(sides * wide, q.dtype),
                                          np.zeros(wide, q.dtype), np.zeros(wide, q.dtype))
    # One row more: from the second row on, a row stands where the token before reads.
    reads, recent = np.zeros(wide + head_width, q.dtype), np.zeros(wide + head_width, q.dtype)
    values, tile, x = np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(sides * tall, q.dtype)
    key, ones, shift, spare = (np.zeros(head_width, q.dtype), np.ones(head_width, q.dtype), np.zeros(head_width, q.dtype),
                               np.zeros(head_width, q.dtype))
    scores, lower, state = (np.zeros(chunk * chunk, q.dtype), np.zeros((chunk + ROWS) * chunk, q.dtype),
                            np.zeros(head_width * value_width, q.dtype))
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        load_state(state, head_width, initial, head * sizes.head_dim * sizes.value_dim, sizes.head_dim, sizes.value_dim, micro)
        start = 0
        while start < sizes.kv_len:
            stop = end_of_chunk(start, sizes)
            rows, token = stop - start, head * sizes.kv_len + start
            gentle = fill_channels(decay, since, until, within, ahead, inverse, far, log_decay, token * sizes.head_dim, rows, sizes,
                                   shift, spare)
            load_vectors(keys, reads, decay, k, k_at[head] + start * k_step, k_step, read, write, beta, token, rows, sizes)
            load_values(values, v, v_at[head] + start * v_step, v_step, read, beta, token, rows, sizes)
            for side in range(sides if gentle else 0):
                faded_rows(kept, onward(keys, side * wide), inverse, rows, head_width)
                transpose_rows(onward(keys_t, side * wide), chunk, kept, 0, head_width, rows, one, sizes.lanes, micro)
            fade_reads(recent, reads, since, rows, head_width)
            read_state(tile, recent, state, rows, sizes)
            for side in range(sides - 1, -1, -1):
                all_scores(onward(lower, chunk), onward(reads, head_width), onward(recent, head_width), kept,
                           onward(keys_t, side * wide), onward(keys, side * wide), decay, within, ahead, key, ones, rows, gentle,
                           far, sizes)
                clear_above(lower, rows, chunk)
                if side:
                    pack_rows(onward(x, tall), chunk, values, 0, value_width, rows, one, micro)
                    read_tokens(tile, lower, onward(x, tall), rows, sizes)
            if sides == 1:
                for n in range(rows * value_width):
                    tile[n] += values[n]
            pack_rows(x, chunk, tile, 0, value_width, rows, one, micro)
            substitute_down(x, lower, rows, chunk, value_width, micro)
            for i in range(rows):
                put_row(written, (token + i) * sizes.value_dim, sizes.value_dim, x, i * micro, chunk * micro, one, micro)
            for group in range(groups if start >= first else 0):
                line = head * groups + group
                load_rows(queries, head_width, chunk, q, q_at[line] + (start - first) * q_step, q_step, rows, sizes.head_dim,
                          number(scale), micro)
                faded_rows(faded, queries, since, rows, head_width)
                read_state(tile, faded, state, rows, sizes)
                for side in range(sides):
                    all_scores(scores, queries, faded, kept, onward(keys_t, side * wide), onward(keys, side * wide), decay, within,
                               ahead, key, ones, rows, gentle, far, sizes)
                    read_tokens(tile, scores, onward(x, side * tall), rows, sizes)
                store_rows(out, (line * sizes.q_len + start - first) * sizes.value_dim, tile, value_width, rows, sizes.value_dim, one,
                           micro)
            fade_state(state, since, (rows - 1) * head_width, head_width, value_width, micro)
            for side in range(sides):
                add_state(state, onward(keys, side * wide), until, faded, onward(x, side * tall), rows, sizes)
            start = stop
        store_state(last, head * sizes.head_dim * sizes.value_dim, state, head_width, sizes.head_dim, sizes.value_dim, micro)
