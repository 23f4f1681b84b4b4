"""A state whose channels fade by themselves, over chunks of tokens."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.bonus import own_scores
from tinyattn.kernels.states.channels import all_scores, clear_above, fade_reads, fade_state, faded_rows, fill_channels
from tinyattn.kernels.states.chunk import add_tokens, end_of_chunk, read_state, read_tokens
from tinyattn.kernels.states.onward import onward
from tinyattn.kernels.states.rows import load_rows, load_state, store_rows, store_state
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, transpose_rows


@compiled
def channel_forward(counter, sizes, scale, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, log_decay, far, bonus, initial, out,
                    last):
    """Fills out and last as `forward`, with log_decay (batch, kv_heads, kv_len, head_dim).

    O = (Q since) S + M V and S' = diag(total) S + (K until)^T V, M_ij = sum_d q_id k_jd times the decays between. With a bonus
    (kv_heads, head_dim) queries read before their tokens are written: they fade until just before them, and on the diagonal of M is
    sum_d bonus_d q_id k_id. Of a bonus that is None, Numba compiles nothing.
    """
    number = q.dtype.type
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    wide, tall, one = chunk * head_width, chunk * value_width, number(1)
    decay, since, until, within, ahead, inverse = (np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype),
                                                   np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype))
    # One row more: from the second row on, a row stands where the token before reads.
    queries, faded = np.zeros(wide + head_width, q.dtype), np.zeros(wide + head_width, q.dtype)
    keys, kept, kept_t = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype)
    values, tile, x = np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype)
    key, ones, shift, spare = (np.zeros(head_width, q.dtype), np.ones(head_width, q.dtype), np.zeros(head_width, q.dtype),
                               np.zeros(head_width, q.dtype))
    scores, state = np.zeros((chunk + ROWS) * chunk, q.dtype), np.zeros(head_width * value_width, q.dtype)
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        load_state(state, head_width, initial, head * sizes.head_dim * sizes.value_dim, sizes.head_dim, sizes.value_dim, micro)
        start = 0
        while start < sizes.kv_len:
            stop = end_of_chunk(start, sizes)
            rows = stop - start
            load_rows(keys, head_width, chunk, k, k_at[head] + start * k_step, k_step, rows, sizes.head_dim, one, micro)
            load_rows(values, value_width, chunk, v, v_at[head] + start * v_step, v_step, rows, sizes.value_dim, one, micro)
            pack_rows(x, chunk, values, 0, value_width, rows, one, micro)
            gentle = fill_channels(decay, since, until, within, ahead, inverse, far, log_decay,
                                   (head * sizes.kv_len + start) * sizes.head_dim, rows, sizes, shift, spare)
            if gentle and start >= first:
                faded_rows(kept, keys, inverse, rows, head_width)
                transpose_rows(kept_t, chunk, kept, 0, head_width, rows, one, sizes.lanes, micro)
            for group in range(groups if start >= first else 0):
                line = head * groups + group
                load_rows(queries, head_width, chunk + 1, q, q_at[line] + (start - first) * q_step, q_step, rows, sizes.head_dim,
                          number(scale), micro)
                if bonus is None:
                    faded_rows(faded, queries, since, rows, head_width)
                    read_state(tile, faded, state, rows, sizes)
                    all_scores(scores, queries, faded, kept, kept_t, keys, decay, within, ahead, key, ones, rows, gentle, far,
                               sizes)
                else:
                    fade_reads(faded, queries, since, rows, head_width)
                    read_state(tile, faded, state, rows, sizes)
                    all_scores(onward(scores, chunk), onward(queries, head_width), onward(faded, head_width), kept, kept_t, keys,
                               decay, within, ahead, key, ones, rows, gentle, far, sizes)
                    clear_above(scores, rows, chunk)
                    own_scores(scores, queries, keys, bonus, head % sizes.kv_heads * sizes.head_dim, rows, sizes)
                read_tokens(tile, scores, x, rows, sizes)
                store_rows(out, (line * sizes.q_len + start - first) * sizes.value_dim, tile, value_width, rows, sizes.value_dim, one,
                           micro)
            fade_state(state, since, (rows - 1) * head_width, head_width, value_width, micro)
            faded_rows(faded, keys, until, rows, head_width)
            add_tokens(state, faded, x, rows, sizes)
            start = stop
        store_state(last, head * sizes.head_dim * sizes.value_dim, state, head_width, sizes.head_dim, sizes.value_dim, micro)
