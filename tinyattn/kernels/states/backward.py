"""The backward of a state over chunks: its states are computed again, then the chunks are walked from the last to the first."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.chunk import (
    add_tokens,
    end_of_chunk,
    through_keys,
    through_pairs,
    through_reads,
    through_scores,
    through_state,
)
from tinyattn.kernels.states.correcting import correction_gradients
from tinyattn.kernels.states.fading import decay_gradient, fade, fill_fading, flow_of
from tinyattn.kernels.states.features import before_features, load_features, mapped_dim
from tinyattn.kernels.states.forward import write
from tinyattn.kernels.states.normaliser import (
    add_keys,
    bounded_gradients,
    bounded_reciprocals,
    reciprocals,
    through_weights,
    weight_gradients,
)
from tinyattn.kernels.states.rows import (
    add_scaled,
    dot,
    load_rows,
    load_state,
    scale_all,
    scale_rows,
    scaled_rows,
    store_rows,
    store_state,
    turn_state,
)
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_add, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_row, transpose_rows


@inlined
def fill_states(states, totals, starts, head, initial, initial_total, x, x_rows, keys, faded, summed, since, until, between, running,
                feature, waves, k, k_at, k_step, source, source_at, source_step, decay, gates, sizes):
    """Fills states and totals with the state and the sum of keys before each chunk, and starts with the chunk's first token.

    Returns how many chunks there are.
    """
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    one, size, count, start = keys.dtype.type(1), head_width * value_width, 0, 0
    load_state(states[:size], head_width, initial, head * sizes.head_dim * sizes.value_dim, sizes.head_dim, sizes.value_dim, micro)
    if initial_total is not None:
        for d in range(sizes.head_dim):
            totals[d] = initial_total[head * sizes.head_dim + d]
    while start < sizes.kv_len:
        stop = end_of_chunk(start, sizes)
        rows, starts[count], count = stop - start, start, count + 1
        starts[count] = stop
        if stop < sizes.kv_len:
            load_features(keys, head_width, chunk, k, k_at[head] + start * k_step, k_step, rows, sizes.head_dim, feature, waves,
                          start, micro)
            if gates is not None:
                scale_rows(keys, head_width, rows, gates[head * sizes.kv_len + start :], micro)
            load_rows(x_rows, value_width, chunk, source, source_at[head] + start * source_step, source_step, rows, sizes.value_dim,
                      one, micro)
            pack_rows(x, chunk, x_rows, 0, value_width, rows, one, micro)
            if decay.size:
                fill_fading(since, until, between, decay, head * sizes.kv_len + start, rows, chunk, running)
            after = states[count * size : (count + 1) * size]
            for place in range(size):  # a copy of a slice would need counts of references
                after[place] = states[(count - 1) * size + place]
            write(after, keys, faded, until, since[rows - 1], decay.size > 0, x, rows, sizes)
            if initial_total is not None:
                total = totals[count * head_width : (count + 1) * head_width]
                for d in range(head_width):
                    total[d] = totals[(count - 1) * head_width + d] * since[rows - 1]
                add_keys(total, summed, faded if decay.size else keys, rows, head_width)
        start = stop
    return count


@compiled
def backward(counter, sizes, scale, feature, waves, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, source, source_at,
             source_step, decay, gates, bounds, beta, initial, initial_total, out, weights, d_out, d_last, d_last_total, d_q, d_k, d_v,
             d_log_decay, d_gates, d_beta, d_initial, d_initial_total):
    """Fills the gradients of all that `forward` reads; a task is one kv head. `source` is what was written: V, or the corrections.

    With M = Q K^T between and dM = dO X^T between, on and below the diagonal: dQ = since (dO S^T) + dM K,
    dK = dM^T Q + until (X dS'^T), dX = M^T dO + (K until) dS', dS = total dS' + (Q since)^T dO. Where `forward` divides by the
    total weights, dO is divided by them too, and what comes by them is added to dM, dQ, dK and the gradient of the sum of keys.
    `d_gates` are the gradients of the logarithms of the gates. Of gates, bounds, beta, feature or initial_total that is None, Numba
    compiles nothing.
    """
    number = q.dtype.type
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    fades, one, size, dim = decay.size > 0, number(1), head_width * value_width, mapped_dim(sizes.head_dim, feature)
    since, until, strength = np.ones(chunk, q.dtype), np.ones(chunk, q.dtype), np.zeros(chunk, q.dtype)
    running, between = np.ones(chunk), np.ones(chunk * chunk, q.dtype)
    flow, later = np.zeros(chunk), np.zeros(chunk)
    scores, d_scores = np.zeros(chunk * chunk, q.dtype), np.zeros(chunk * chunk, q.dtype)
    wide, tall = chunk * head_width, chunk * value_width
    queries, query_panels, d_queries = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype)
    keys, key_panels, keys_t = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype), np.zeros(wide, q.dtype)
    d_keys, faded = np.zeros(wide, q.dtype), np.zeros(wide, q.dtype)
    x, x_rows, x_t, d_x = np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype), np.zeros(tall, q.dtype)
    d_tile, d_panels = np.zeros(tall, q.dtype), np.zeros(tall, q.dtype)
    state_t, d_state, d_state_t = np.zeros(size, q.dtype), np.zeros(size, q.dtype), np.zeros(size, q.dtype)
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    most = first // chunk + sizes.q_len // chunk + 2
    states, starts = np.zeros(most * size, q.dtype), np.zeros(most + 1, np.int64)
    totals = np.zeros(0 if initial_total is None else most * head_width, q.dtype)
    factors, d_total, d_chunk = np.zeros(chunk, q.dtype), np.zeros(head_width, q.dtype), np.zeros(head_width, q.dtype)
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        count = fill_states(states, totals, starts, head, initial, initial_total, x, x_rows, keys, faded, d_chunk, since, until,
                            between, running, feature, waves, k, k_at, k_step, source, source_at, source_step, decay, gates, sizes)
        if initial_total is not None:
            for d in range(sizes.head_dim):
                d_total[d] = d_last_total[head * sizes.head_dim + d]
        load_state(d_state, head_width, d_last, head * sizes.head_dim * sizes.value_dim, sizes.head_dim, sizes.value_dim, micro)
        for n in range(count - 1, -1, -1):
            start, state = starts[n], states[n * size : (n + 1) * size]
            rows, token = starts[n + 1] - start, head * sizes.kv_len + start
            load_features(keys, head_width, chunk, k, k_at[head] + start * k_step, k_step, rows, sizes.head_dim, feature, waves,
                          start, micro)
            if gates is not None:
                scale_rows(keys, head_width, rows, gates[token:], micro)
            load_rows(x_rows, value_width, chunk, source, source_at[head] + start * source_step, source_step, rows, sizes.value_dim,
                      one, micro)
            pack_rows(x, chunk, x_rows, 0, value_width, rows, one, micro)
            transpose_rows(x_t, chunk, x_rows, 0, value_width, rows, one, sizes.lanes, micro)
            pack_rows(key_panels, chunk, keys, 0, head_width, rows, one, micro)
            transpose_rows(keys_t, chunk, keys, 0, head_width, rows, one, sizes.lanes, micro)
            turn_state(state_t, state, head_width, value_width, sizes.lanes, micro)
            turn_state(d_state_t, d_state, head_width, value_width, sizes.lanes, micro)
            through_state(d_keys, x_rows, d_state_t, rows, sizes)
            if initial_total is not None:
                for i in range(rows):
                    add_scaled(d_keys, i * head_width, d_total, 0, one, head_width)
            kept, bridge = keys, 0.0
            if fades:
                fill_fading(since, until, between, decay, token, rows, chunk, running)
                scale_rows(d_keys, head_width, rows, until, micro)
                for i in range(rows):
                    flow[i], later[i] = 0, dot(keys, i * head_width, d_keys, i * head_width, head_width)
                scaled_rows(faded, keys, head_width, rows, until, micro)
                kept, bridge = faded, since[rows - 1] * float(dot(state, 0, d_state, 0, size))
                if initial_total is not None:
                    bridge += since[rows - 1] * float(dot(totals, n * head_width, d_total, 0, head_width))
                    scale_all(d_total, since[rows - 1], micro)
            through_keys(d_x, kept, d_state, rows, sizes)
            if fades:
                scale_all(d_state, since[rows - 1], micro)
            for group in range(groups if start >= first else 0):
                line = head * groups + group
                load_features(queries, head_width, chunk, q, q_at[line] + (start - first) * q_step, q_step, rows, sizes.head_dim,
                              feature, waves, start, micro)
                pack_rows(query_panels, chunk, queries, 0, head_width, rows, one, micro)
                at = line * sizes.q_len + start - first
                load_rows(d_tile, value_width, chunk, d_out, at * sizes.value_dim, sizes.value_dim, rows, sizes.value_dim,
                          number(scale) if initial_total is None else one, micro)
                if initial_total is not None:
                    if bounds is None:
                        reciprocals(factors, weights, at, number(scale), rows)
                    else:
                        bounded_reciprocals(factors, weights, at, bounds, token, scale, rows)
                    scale_rows(d_tile, value_width, rows, factors, micro)
                    weight_gradients(factors, d_tile, value_width, out, at * sizes.value_dim, sizes.value_dim, weights, at, rows)
                    if bounds is not None:
                        bounded_gradients(factors, weights, at, bounds, token, rows)
                pack_rows(d_panels, chunk, d_tile, 0, value_width, rows, one, micro)
                product_set(scores, 0, chunk, micro, queries, 0, head_width, 1, keys_t, head_width * micro, rows, rows, sizes.head_dim,
                            micro, -chunk, 0)
                fade(scores, between, rows, chunk, micro)
                through_pairs(d_scores, d_tile, x_t, rows, sizes)
                through_reads(d_queries, d_tile, state_t, rows, sizes)
                if initial_total is not None:
                    through_weights(d_scores, d_queries, d_total, d_chunk, factors, queries,
                                    totals[n * head_width : (n + 1) * head_width], since, rows, chunk, head_width)
                if fades:
                    flow_of(flow, scores, d_scores, rows, chunk)
                    scale_rows(d_queries, head_width, rows, since, micro)
                    for i in range(rows):
                        flow[i] += dot(queries, i * head_width, d_queries, i * head_width, head_width)
                fade(d_scores, between, rows, chunk, micro)
                product_add(d_queries, 0, head_width, micro, d_scores, 0, chunk, 1, key_panels, chunk * micro, rows, head_width, rows,
                            micro, -chunk, 0)
                before_features(d_queries, queries, head_width, rows, sizes.head_dim, feature, waves, start, micro)
                store_rows(d_q, at * dim, d_queries, head_width, rows, dim, one, micro)
                through_scores(d_x, scores, d_panels, rows, sizes)
                product_add(d_keys, 0, head_width, micro, d_scores, 0, 1, chunk, query_panels, chunk * micro, rows, head_width, rows,
                            micro, 0, chunk)
                if fades:
                    scale_rows(queries, head_width, rows, since, micro)
                add_tokens(d_state, queries, d_panels, rows, sizes)
            if beta is not None:
                for i in range(rows):
                    strength[i] = beta[token + i]
                load_rows(d_tile, value_width, chunk, v, v_at[head] + start * v_step, v_step, rows, sizes.value_dim, one, micro)
                correction_gradients(d_x, d_keys, d_state, d_beta, token, flow, scores, d_scores, d_queries, d_tile, x_rows, x_t, keys,
                                     key_panels, keys_t, faded, state_t, since, between, fades, strength, rows, sizes)
            for i in range(rows):
                put_row(d_v, (token + i) * sizes.value_dim, sizes.value_dim, d_x, i * micro, chunk * micro, one, micro)
            if gates is not None:
                for i in range(rows):
                    d_gates[token + i] = dot(keys, i * head_width, d_keys, i * head_width, head_width)
                scale_rows(d_keys, head_width, rows, gates[token:], micro)
            before_features(d_keys, keys, head_width, rows, sizes.head_dim, feature, waves, start, micro)
            store_rows(d_k, token * dim, d_keys, head_width, rows, dim, one, micro)
            if fades:
                decay_gradient(d_log_decay, token, decay, flow, later, bridge, rows)
        if initial_total is not None:
            for d in range(sizes.head_dim):
                d_initial_total[head * sizes.head_dim + d] = d_total[d]
        store_state(d_initial, head * sizes.head_dim * sizes.value_dim, d_state, head_width, sizes.head_dim, sizes.value_dim, micro)
