"""Linear attention with the features of `taylor`: within a chunk by the scores, beyond it by the state."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.chunk import end_of_chunk
from tinyattn.kernels.states.normaliser import reciprocals, sum_scores
from tinyattn.kernels.states.rows import load_rows, scale_rows, store_rows
from tinyattn.kernels.states.taylor import (
    add_product,
    feature_count,
    fill_features,
    fill_polynomial,
    fold_pairs,
    load_channels,
    set_product,
    unfold_pairs,
)
from tinyattn.kernels.tiles.jit import compiled, inlined, reassociated
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.threads import next_task


@reassociated
def add_features(total, features, count, rows, chunk):
    """Adds to the sum of keys the features [features][chunk] of the tokens of a chunk."""
    for f in range(count):
        row, gained = features[f * chunk : f * chunk + rows], total.dtype.type(0)
        for c in range(rows):
            gained += row[c]
        total[f] += gained


@reassociated
def past_weights(weights, features, total, count, chunk):
    """Fills weights with the product of each token's features [features][chunk] and the sum of keys."""
    for c in range(chunk):
        weights[c] = 0
    for f in range(count):
        row, by = features[f * chunk : (f + 1) * chunk], total[f]
        for c in range(chunk):
            weights[c] += row[c] * by


@inlined
def add_chunk(state, total, features, values, rows, count, sizes):
    """Adds the keys of a chunk and their values to the state, and to the sum of keys if there is one."""
    add_product(state, sizes.value_width, features, sizes.kv_tile, 1, values, sizes.value_width, count, sizes.value_width, rows,
                sizes.micro_columns, -count - ROWS, rows)
    if total.size:
        add_features(total, features, count, rows, sizes.kv_tile)


@compiled
def taylor_forward(counter, sizes, scale, causal, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, initial, initial_total, out,
                   last, last_total, weights):
    """Fills out and the last state and total as `forward` does with a feature map, of states that hold each pair of channels twice.

    If not `causal` every query reads what all keys have written.
    """
    number, chunk, width, micro = q.dtype.type, sizes.kv_tile, sizes.value_width, sizes.micro_columns
    one, dim, value_dim, normalizes = number(1), sizes.head_dim, sizes.value_dim, initial_total.size > 0
    count, given, wide = feature_count(dim), 1 + dim + dim * dim, chunk * sizes.head_width
    padded = (count + ROWS - 1) // ROWS * ROWS
    state, total = np.zeros(padded * width, q.dtype), np.zeros(count if normalizes else 0, q.dtype)
    features, rows_tile = np.zeros(padded * chunk, q.dtype), np.zeros(wide, q.dtype)
    queries, keys = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype)
    values, tile, scores = np.zeros(chunk * width, q.dtype), np.zeros(chunk * width, q.dtype), np.zeros(chunk * chunk, q.dtype)
    sums, factors = np.zeros(chunk, q.dtype), np.zeros(chunk, q.dtype)
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    everywhere = padded + chunk + width
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        fold_pairs(state, width, initial, head * given * value_dim, dim, value_dim)
        fold_pairs(total, 1, initial_total, head * given, dim, 1 if normalizes else 0)
        start, asked = 0, 0 if causal else sizes.q_len
        while start < sizes.kv_len or asked > 0:
            reads = (causal and start >= first) or start >= sizes.kv_len
            if start < sizes.kv_len:
                stop = end_of_chunk(start, sizes) if causal else min(start + chunk, sizes.kv_len)
                rows, begin = stop - start, start - first
                load_channels(keys, rows_tile, k, k_at[head] + start * k_step, k_step, rows, sizes)
                load_rows(values, width, chunk, v, v_at[head] + start * v_step, v_step, rows, value_dim, one, micro)
            else:
                stop, rows, begin = start, min(chunk, asked), sizes.q_len - asked
            for group in range(groups if reads else 0):
                line = head * groups + group
                at = line * sizes.q_len + begin
                load_channels(queries, rows_tile, q, q_at[line] + begin * q_step, q_step, rows, sizes)
                fill_features(features, queries, dim, chunk)
                set_product(tile, width, features, 1, chunk, state, width, rows, width, count, micro, -everywhere, everywhere)
                if normalizes:
                    past_weights(sums, features, total, count, chunk)
                if causal:
                    set_product(scores, chunk, queries, 1, chunk, keys, chunk, rows, rows, dim, micro, -chunk, 0)
                    fill_polynomial(scores, rows, chunk)
                    add_product(tile, width, scores, chunk, 1, values, width, rows, width, rows, micro, -chunk, 0)
                if normalizes:
                    for i in range(rows):
                        within = sum_scores(scores, i * chunk, i + 1) if causal else number(0)
                        weights[at + i] = number(scale) * (sums[i] + within)
                    reciprocals(factors, weights, at, number(scale), rows)
                    scale_rows(tile, width, rows, factors, micro)
                store_rows(out, at * value_dim, tile, width, rows, value_dim, one if normalizes else number(scale), micro)
            if start < sizes.kv_len:
                fill_features(features, keys, dim, chunk)
                add_chunk(state, total, features, values, rows, count, sizes)
            else:
                asked -= rows
            start = stop
        unfold_pairs(last, head * given * value_dim, state, width, initial, dim, value_dim)
        unfold_pairs(last_total, head * given, total, 1, initial_total, dim, 1 if normalizes else 0)
