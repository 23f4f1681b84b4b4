"""A state over chunks of tokens: what each query reads from it, and the state after the last token."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.chunk import add_tokens, end_of_chunk, read_state, read_tokens
from tinyattn.kernels.states.fading import fade, fade_below, fill_fading
from tinyattn.kernels.states.features import load_features
from tinyattn.kernels.states.normaliser import add_keys, bounded_reciprocals, reciprocals, total_weights
from tinyattn.kernels.states.rows import load_rows, load_state, scale_all, scale_rows, scaled_rows, store_rows, store_state
from tinyattn.kernels.states.solve import substitute_down
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_row, transpose_rows


@inlined
def write(state, keys, faded, until, total, fades, x, rows, sizes):
    """Replaces the state S by total S + (K until)^T X; `faded` is a tile for K until."""
    source = keys
    if fades:
        scale_all(state, state.dtype.type(total), sizes.micro_columns)
        scaled_rows(faded, keys, sizes.head_width, rows, until, sizes.micro_columns)
        source = faded
    add_tokens(state, source, x, rows, sizes)


@inlined
def corrections(x, lower, keys, keys_t, values, tile, state, since, between, strength, rows, sizes):
    """Fills the panels x with what the delta rule writes, the solution of (I + A) X = beta (V - since K S).

    `lower` becomes -A, A_ij = beta_i (k_i . k_j) between_ij for j < i. `values` is V row by row; `tile` is a tile as large.
    """
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    product_set(lower, 0, chunk, micro, keys, 0, head_width, 1, keys_t, head_width * micro, rows, rows, sizes.head_dim, micro,
                -chunk, 0)
    fade_below(lower, between, strength, rows, chunk, micro)
    read_state(tile, keys, state, rows, sizes)
    for i in range(rows):
        stored, wanted = tile[i * value_width : (i + 1) * value_width], values[i * value_width : (i + 1) * value_width]
        beta, factor = strength[i], since[i]
        for e in range(value_width):
            stored[e] = beta * (wanted[e] - factor * stored[e])
    pack_rows(x, chunk, tile, 0, value_width, rows, tile.dtype.type(1), micro)
    substitute_down(x, lower, rows, chunk, value_width, micro)


@compiled
def forward(counter, sizes, scale, feature, waves, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, decay, gates, bounds, beta,
            initial, initial_total, out, last, last_total, weights, written):
    """Fills out (batch, heads, q_len, value_dim) and last (batch, kv_heads, head_dim, value_dim); a task is one kv head.

    For each chunk X = V, or what the delta rule corrects it to, O = since (Q S) + (Q K^T between) X, and
    S' = total S + (K until)^T X. `written` keeps the corrections. Without decays (of size 0) all the fading is 1; without
    beta the state is added to only. Q and K are the features of q and k, for which `waves` are read. With an initial_total (batch,
    kv_heads, head_dim), the sum of earlier keys, which fades as the state does, out is divided by the total weights, which `weights`
    keeps; then there are no corrections. With `gates` (batch, kv_heads, kv_len) each key is multiplied by its own, and with `bounds`
    the divisor is the absolute total weight, or the token's bound if that is more. Of gates, bounds, beta, feature or initial_total
    that is None, Numba compiles nothing.
    """
    number = q.dtype.type
    chunk, head_width, value_width, micro = sizes.kv_tile, sizes.head_width, sizes.value_width, sizes.micro_columns
    fades, one = decay.size > 0, number(1)
    since, until, strength = np.ones(chunk, q.dtype), np.ones(chunk, q.dtype), np.zeros(chunk, q.dtype)
    running, between = np.ones(chunk), np.ones(chunk * chunk, q.dtype)
    scores, lower = np.zeros(chunk * chunk, q.dtype), np.zeros(0 if beta is None else chunk * chunk, q.dtype)
    queries, keys = np.zeros(chunk * head_width, q.dtype), np.zeros(chunk * head_width, q.dtype)
    keys_t, faded = np.zeros(chunk * head_width, q.dtype), np.zeros(chunk * head_width, q.dtype)
    values, tile, x = (np.zeros(chunk * value_width, q.dtype), np.zeros(chunk * value_width, q.dtype),
                       np.zeros(chunk * value_width, q.dtype))
    state = np.zeros(head_width * value_width, q.dtype)
    total, chunk_total, factors = np.zeros(head_width, q.dtype), np.zeros(head_width, q.dtype), np.zeros(chunk, q.dtype)
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        load_state(state, head_width, initial, head * sizes.head_dim * sizes.value_dim, sizes.head_dim, sizes.value_dim, micro)
        if initial_total is not None:
            for d in range(sizes.head_dim):
                total[d] = initial_total[head * sizes.head_dim + d]
        start = 0
        while start < sizes.kv_len:
            stop = end_of_chunk(start, sizes)
            rows, token = stop - start, head * sizes.kv_len + start
            load_features(keys, head_width, chunk, k, k_at[head] + start * k_step, k_step, rows, sizes.head_dim, feature, waves,
                          start, micro)
            if gates is not None:
                scale_rows(keys, head_width, rows, gates[token:], micro)
            load_rows(values, value_width, chunk, v, v_at[head] + start * v_step, v_step, rows, sizes.value_dim, one, micro)
            if fades:
                fill_fading(since, until, between, decay, token, rows, chunk, running)
            if beta is not None or start >= first:
                transpose_rows(keys_t, chunk, keys, 0, head_width, rows, one, sizes.lanes, micro)
            if beta is not None:
                for i in range(rows):
                    strength[i] = beta[token + i]
                corrections(x, lower, keys, keys_t, values, tile, state, since, between, strength, rows, sizes)
                for i in range(rows):
                    put_row(written, (token + i) * sizes.value_dim, sizes.value_dim, x, i * micro, chunk * micro, one, micro)
            else:
                pack_rows(x, chunk, values, 0, value_width, rows, one, micro)
            if start >= first:
                for group in range(groups):
                    line = head * groups + group
                    at = line * sizes.q_len + start - first
                    load_features(queries, head_width, chunk, q, q_at[line] + (start - first) * q_step, q_step, rows, sizes.head_dim,
                                  feature, waves, start, micro)
                    read_state(tile, queries, state, rows, sizes)
                    if fades:
                        scale_rows(tile, value_width, rows, since, micro)
                    product_set(scores, 0, chunk, micro, queries, 0, head_width, 1, keys_t, head_width * micro, rows, rows,
                                sizes.head_dim, micro, -chunk, 0)
                    fade(scores, between, rows, chunk, micro)
                    read_tokens(tile, scores, x, rows, sizes)
                    if initial_total is not None:
                        total_weights(factors, scores, queries, total, since, rows, chunk, head_width)
                        for i in range(rows):
                            weights[at + i] = number(scale) * factors[i]
                        if bounds is None:
                            reciprocals(factors, weights, at, number(scale), rows)
                        else:
                            bounded_reciprocals(factors, weights, at, bounds, token, scale, rows)
                        scale_rows(tile, value_width, rows, factors, micro)
                    store_rows(out, at * sizes.value_dim, tile, value_width, rows, sizes.value_dim,
                               number(scale) if initial_total is None else one, micro)
            write(state, keys, faded, until, since[rows - 1], fades, x, rows, sizes)
            if initial_total is not None:
                if fades:
                    scale_all(total, since[rows - 1], micro)
                add_keys(total, chunk_total, faded if fades else keys, rows, head_width)
            start = stop
        if initial_total is not None:
            for d in range(sizes.head_dim):
                last_total[head * sizes.head_dim + d] = total[d]
        store_state(last, head * sizes.head_dim * sizes.value_dim, state, head_width, sizes.head_dim, sizes.value_dim, micro)
