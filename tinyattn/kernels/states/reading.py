"""A state of which each token reads along one vector and writes along another, over chunks of tokens."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.channels import (
    BLOCK,
    advance,
    channel_scores,
    fade_state,
    faded_rows,
    fill_channels,
    times,
    whole_scores,
)
from tinyattn.kernels.states.chunk import add_tokens, end_of_chunk, read_state, read_tokens
from tinyattn.kernels.states.rows import load_rows, load_state, store_rows, store_state
from tinyattn.kernels.states.solve import substitute_down
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_row, transpose_rows


@inlined
def all_scores(scores, tile, recent, kept, kept_t, keys, decay, within, ahead, key, ones, rows, gentle, sizes):
    """Fills scores on and below the diagonal; `recent` comes as the tile faded since the chunk's start.

    Where no channel fades far, kept_t comes as the keys divided by what fades them, turned; else it and kept are tiles to work in.
    """
    if gentle:
        whole_scores(scores, recent, kept_t, ones, rows, sizes)
        return
    faded_rows(recent, tile, within, rows, sizes.head_width)
    for block in range(0, rows, BLOCK):
        channel_scores(scores, tile, recent, kept, kept_t, keys, decay, key, ones, block, rows, sizes)
        advance(kept, keys, within, ahead, block, rows, sizes.head_width)


@inlined
def clear_above(scores, rows, width):
    """Clears row i from column i on, to the end of its micro tile."""
    for i in range(rows):
        for j in range(i, min(i // ROWS * ROWS + ROWS, width)):
            scores[i * width + j] = 0


@inlined
def add_state(state, keys, until, faded, x, rows, sizes):
    """Adds (K until)^T X to the state."""
    faded_rows(faded, keys, until, rows, sizes.head_width)
    add_tokens(state, faded, x, rows, sizes)


@compiled
def reading(counter, sizes, scale, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, log_decay, read, write, initial, out, last,
            written):
    """Fills out and last as `channel_forward`, of a state of which each token reads; read and write are as log_decay.

    With A the read vectors faded until just before their tokens, B the write vectors, and the scores (A, K), (A, B) below the
    diagonal: Y = A S + (A, K) V + (A, B) Y, O = (Q since) S + (Q, K) V + (Q, B) Y, S' = total S + (K until)^T V + (B until)^T Y.
    Where write has size 0 it is k, and X = V + Y takes the place of both: X = V + A S + (A, K) X. `written` keeps Y, or X.
    """
    number = q.dtype.type
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    wide, tall, one, tied = chunk * head_width, chunk * value_width, number(1), write.size == 0
    decay, since, until, within, ahead, inverse = (np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype),
                                                   np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype))
    queries, keys, writes, faded, kept = (np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype),
                                          np.zeros(wide, q.dtype), np.zeros(wide, q.dtype))
    keys_t, writes_t = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype)
    # One row more: from the second row on, a row stands where the token before reads.
    reads, recent = np.zeros(wide + head_width, q.dtype), np.zeros(wide + head_width, q.dtype)
    values, tile, x, y = np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype)
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
            rows, at = stop - start, (head * sizes.kv_len + start) * sizes.head_dim
            load_rows(keys, head_width, chunk, k, k_at[head] + start * k_step, k_step, rows, sizes.head_dim, one, micro)
            load_rows(values, value_width, chunk, v, v_at[head] + start * v_step, v_step, rows, sizes.value_dim, one, micro)
            load_rows(reads, head_width, chunk + 1, read, at, sizes.head_dim, rows, sizes.head_dim, one, micro)
            own, own_t = keys, keys_t
            if not tied:
                load_rows(writes, head_width, chunk, write, at, sizes.head_dim, rows, sizes.head_dim, one, micro)
                own, own_t = writes, writes_t
            gentle = fill_channels(decay, since, until, within, ahead, inverse, log_decay, at, rows, sizes, shift, spare)
            if gentle:
                faded_rows(kept, keys, inverse, rows, head_width)
                transpose_rows(keys_t, chunk, kept, 0, head_width, rows, one, sizes.lanes, micro)
                if not tied:
                    faded_rows(kept, writes, inverse, rows, head_width)
                    transpose_rows(writes_t, chunk, kept, 0, head_width, rows, one, sizes.lanes, micro)
            times(recent, 0, reads, 0, ones, 0, head_width)
            times(recent, head_width, reads, head_width, since, 0, rows * head_width)
            read_state(tile, recent, state, rows, sizes)
            if tied:
                for n in range(rows * value_width):
                    tile[n] += values[n]
            else:
                pack_rows(x, chunk, values, 0, value_width, rows, one, micro)
                all_scores(lower[chunk:], reads[head_width:], recent[head_width:], kept, keys_t, keys, decay, within, ahead, key, ones,
                           rows, gentle, sizes)
                clear_above(lower, rows, chunk)
                read_tokens(tile, lower, x, rows, sizes)
            all_scores(lower[chunk:], reads[head_width:], recent[head_width:], kept, own_t, own, decay, within, ahead, key, ones, rows,
                       gentle, sizes)
            pack_rows(y, chunk, tile, 0, value_width, rows, one, micro)
            substitute_down(y, lower, rows, chunk, value_width, micro)
            for i in range(rows):
                put_row(written, (head * sizes.kv_len + start + i) * sizes.value_dim, sizes.value_dim, y, i * micro, chunk * micro,
                        one, micro)
            for group in range(groups if start >= first else 0):
                line = head * groups + group
                load_rows(queries, head_width, chunk, q, q_at[line] + (start - first) * q_step, q_step, rows, sizes.head_dim,
                          number(scale), micro)
                faded_rows(faded, queries, since, rows, head_width)
                read_state(tile, faded, state, rows, sizes)
                all_scores(scores, queries, faded, kept, own_t, own, decay, within, ahead, key, ones, rows, gentle, sizes)
                read_tokens(tile, scores, y, rows, sizes)
                if not tied:
                    all_scores(scores, queries, faded, kept, keys_t, keys, decay, within, ahead, key, ones, rows, gentle, sizes)
                    read_tokens(tile, scores, x, rows, sizes)
                store_rows(out, (line * sizes.q_len + start - first) * sizes.value_dim, tile, value_width, rows, sizes.value_dim, one,
                           micro)
            fade_state(state, since, (rows - 1) * head_width, head_width, value_width, micro)
            add_state(state, own, until, faded, y, rows, sizes)
            if not tied:
                add_state(state, keys, until, faded, x, rows, sizes)
            start = stop
        store_state(last, head * sizes.head_dim * sizes.value_dim, state, head_width, sizes.head_dim, sizes.value_dim, micro)
