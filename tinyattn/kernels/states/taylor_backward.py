"""The backward of `taylor_forward`: queries from the first chunk to the last, then keys from the last chunk to the first.

So no state is kept but the one that is read: what is computed twice are the scores, which cost little beside the state.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.chunk import end_of_chunk
from tinyattn.kernels.states.normaliser import reciprocals, weight_gradients
from tinyattn.kernels.states.rows import load_rows, scale_rows, store_rows
from tinyattn.kernels.states.taylor import (
    add_product,
    before_features,
    feature_count,
    fill_features,
    fold_pairs,
    load_channels,
    polynomial_slopes,
    set_product,
    store_channels,
    turned_slopes,
    unfold_pairs,
)
from tinyattn.kernels.states.taylor_forward import add_chunk
from tinyattn.kernels.tiles.jit import compiled, inlined, reassociated
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import transpose_rows


@reassociated
def add_slopes(d_total, features, slopes, count, rows, chunk):
    """Adds to the gradient of the sum of keys what comes by the total weights of a chunk's queries."""
    for f in range(count):
        row, gained = features[f * chunk : f * chunk + rows], d_total.dtype.type(0)
        for c in range(rows):
            gained += row[c] * slopes[c]
        d_total[f] += gained


@inlined
def load_gradients(d_tile, slopes, factors, d_out, out, weights, at, scale, normalizes, rows, sizes):
    """Fills d_tile with the gradients of what was read, before the division, and slopes with those of the total weights."""
    number, dim, width, micro = d_tile.dtype.type, sizes.value_dim, sizes.value_width, sizes.micro_columns
    load_rows(d_tile, width, sizes.kv_tile, d_out, at * dim, dim, rows, dim, number(1) if normalizes else number(scale), micro)
    if normalizes:
        reciprocals(factors, weights, at, number(scale), rows)
        scale_rows(d_tile, width, rows, factors, micro)
        weight_gradients(slopes, d_tile, width, out, at * dim, dim, weights, at, rows)


@compiled
def taylor_backward(counter, sizes, scale, causal, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, initial, initial_total, out,
                    weights, d_out, d_last, d_last_total, d_q, d_k, d_v, d_initial, d_initial_total):
    """Fills the gradients of all that `taylor_forward` reads; a task is one kv head.

    With W = f(Q) f(K)^T and dW = (dO X^T + slopes) (1 + Q K^T), on and below the diagonal: dQ = f'(dO S^T + slopes n^T) + dW K,
    dK = f'(X dS'^T + dn') + dW^T Q, dX = W^T dO + f(K) dS'; dS = dS' + f(Q)^T dO and dn = dn' + f(Q)^T slopes.
    """
    number, chunk, width, micro = q.dtype.type, sizes.kv_tile, sizes.value_width, sizes.micro_columns
    one, dim, value_dim, normalizes = number(1), sizes.head_dim, sizes.value_dim, initial_total.size > 0
    count, given, wide, tall = feature_count(dim), 1 + dim + dim * dim, chunk * sizes.head_width, chunk * width
    padded = (count + ROWS - 1) // ROWS * ROWS
    state, d_state = np.zeros(padded * width, q.dtype), np.zeros(padded * width, q.dtype)
    total, d_total = np.zeros(count, q.dtype), np.zeros(count, q.dtype)
    features, d_features, rows_tile = np.zeros(padded * chunk, q.dtype), np.zeros(padded * chunk, q.dtype), np.zeros(wide, q.dtype)
    queries, keys, d_y = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype)
    values, d_tile, d_x, turned = np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype)
    scores, d_scores = np.zeros(chunk * chunk, q.dtype), np.zeros(chunk * chunk, q.dtype)
    slopes, factors, ones = np.zeros(chunk, q.dtype), np.zeros(chunk, q.dtype), np.ones(chunk, q.dtype)
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    everywhere, summed = padded + chunk + width, 1 if normalizes else 0
    starts = np.zeros((max(sizes.kv_len, sizes.q_len) // chunk + 3) * 2, np.int64)
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        fold_pairs(state, width, initial, head * given * value_dim, dim, value_dim)
        fold_pairs(total, 1, initial_total, head * given, dim, summed)
        fold_pairs(d_state, width, d_last, head * given * value_dim, dim, value_dim)
        fold_pairs(d_total, 1, d_last_total, head * given, dim, summed)
        start, chunks, asked = 0, 0, 0 if causal else sizes.q_len
        while start < sizes.kv_len or asked > 0:
            reads = (causal and start >= first) or start >= sizes.kv_len
            if start < sizes.kv_len:
                stop = end_of_chunk(start, sizes) if causal else min(start + chunk, sizes.kv_len)
                rows, begin = stop - start, start - first
                starts[chunks], starts[chunks + 1], chunks = start, stop, chunks + 1
                load_channels(keys, rows_tile, k, k_at[head] + start * k_step, k_step, rows, sizes)
                load_rows(values, width, chunk, v, v_at[head] + start * v_step, v_step, rows, value_dim, one, micro)
            else:
                stop, rows, begin = start, min(chunk, asked), sizes.q_len - asked
            for group in range(groups if reads else 0):
                line = head * groups + group
                at = line * sizes.q_len + begin
                load_channels(queries, rows_tile, q, q_at[line] + begin * q_step, q_step, rows, sizes)
                load_gradients(d_tile, slopes, factors, d_out, out, weights, at, scale, normalizes, rows, sizes)
                transpose_rows(turned, chunk, d_tile, 0, width, rows, one, sizes.lanes, chunk)
                set_product(d_features, chunk, state, width, 1, turned, chunk, count, chunk, value_dim, micro, -everywhere, everywhere)
                before_features(d_y, d_features, queries, slopes, total, dim, chunk)
                if causal:
                    set_product(scores, chunk, keys, 1, chunk, queries, chunk, rows, rows, dim, micro, 0, chunk)
                    set_product(d_scores, chunk, values, width, 1, turned, chunk, rows, rows, value_dim, micro, 0, chunk)
                    turned_slopes(scores, d_scores, slopes, rows, chunk)
                    add_product(d_y, chunk, keys, chunk, 1, d_scores, chunk, dim, rows, rows, micro, -everywhere, everywhere)
                else:
                    fill_features(features, queries, dim, chunk)
                    add_product(d_state, width, features, chunk, 1, d_tile, width, count, width, rows, micro, -everywhere, everywhere)
                    add_slopes(d_total, features, slopes, count, rows, chunk)
                store_channels(d_q, at * dim, d_y, rows_tile, rows, sizes)
            if start >= sizes.kv_len:
                asked -= rows
            else:
                fill_features(features, keys, dim, chunk)
                add_chunk(state, total if normalizes else total[:0], features, values, rows, count, sizes)
            start = stop
        for n in range(chunks - 1, -1, -1):
            start, rows = starts[n], starts[n + 1] - starts[n]
            load_channels(keys, rows_tile, k, k_at[head] + start * k_step, k_step, rows, sizes)
            load_rows(values, width, chunk, v, v_at[head] + start * v_step, v_step, rows, value_dim, one, micro)
            transpose_rows(turned, chunk, values, 0, width, rows, one, sizes.lanes, chunk)
            fill_features(features, keys, dim, chunk)
            set_product(d_features, chunk, d_state, width, 1, turned, chunk, count, chunk, value_dim, micro, -everywhere, everywhere)
            before_features(d_y, d_features, keys, ones, d_total, dim, chunk)
            set_product(d_x, width, features, 1, chunk, d_state, width, rows, width, count, micro, -everywhere, everywhere)
            for group in range(groups if causal and start >= first else 0):
                line = head * groups + group
                at = line * sizes.q_len + start - first
                load_channels(queries, rows_tile, q, q_at[line] + (start - first) * q_step, q_step, rows, sizes)
                load_gradients(d_tile, slopes, factors, d_out, out, weights, at, scale, normalizes, rows, sizes)
                set_product(scores, chunk, queries, 1, chunk, keys, chunk, rows, rows, dim, micro, -chunk, 0)
                set_product(d_scores, chunk, d_tile, width, 1, turned, chunk, rows, rows, value_dim, micro, -chunk, 0)
                polynomial_slopes(scores, d_scores, slopes, rows, chunk)
                add_product(d_y, chunk, queries, chunk, 1, d_scores, chunk, dim, rows, rows, micro, -everywhere, everywhere)
                add_product(d_x, width, scores, 1, chunk, d_tile, width, rows, width, rows, micro, 0, chunk)
                fill_features(features, queries, dim, chunk)
                add_product(d_state, width, features, chunk, 1, d_tile, width, count, width, rows, micro, -everywhere, everywhere)
                add_slopes(d_total, features, slopes, count, rows, chunk)
            store_channels(d_k, (head * sizes.kv_len + start) * dim, d_y, rows_tile, rows, sizes)
            store_rows(d_v, (head * sizes.kv_len + start) * value_dim, d_x, width, rows, value_dim, one, micro)
        unfold_pairs(d_initial, head * given * value_dim, d_state, width, d_last, dim, value_dim)
        unfold_pairs(d_initial_total, head * given, d_total, 1, d_last_total, dim, summed)
