"""A state one token at a time: for decoding, and for chunks in which a number is not finite."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.registers import WIDE, fold_columns, fold_wide
from tinyattn.kernels.states.rows import dot
from tinyattn.kernels.tiles.jit import compiled, inlined, reassociated
from tinyattn.kernels.tiles.threads import next_task


@reassociated
def recall(total, state, at, keys, key_at, fading, fading_at, fading_step, rows, columns):
    """Fills total with k^T diag(fading) S: what the state stores under a key."""
    for e in range(columns):
        total[e] = 0
    for d in range(rows):
        row, factor = state[at + d * columns : at + (d + 1) * columns], keys[key_at + d] * fading[fading_at + d * fading_step]
        for e in range(columns):
            total[e] += factor * row[e]


@reassociated
def fold(after, before, at, added, keys, key_at, fading, fading_at, fading_step, rows, columns):
    """Fills the new state, diag(fading) S + k x^T."""
    for d in range(rows):
        old, new = before[at + d * columns : at + (d + 1) * columns], after[at + d * columns : at + (d + 1) * columns]
        factor, key = fading[fading_at + d * fading_step], keys[key_at + d]
        for e in range(columns):
            new[e] = factor * old[e] + key * added[e]


@inlined
def fold_and_read(after, before, at, added, keys, key_at, fading, fading_at, fading_step, queries, query_at, total, rows, columns,
                  micro):
    """Fills the new state as `fold`, and total with q^T S, in one walk over the state; `after` may be `before` itself."""
    several, wide = columns // (WIDE * micro) * WIDE * micro, columns // micro * micro
    for column in range(0, several, WIDE * micro):
        fold_wide(after, before, at, columns, rows, added, column, keys, key_at, fading, fading_at, fading_step, queries, query_at,
                  total)
    for column in range(several, wide, micro):
        fold_columns(after, before, at, columns, rows, added, column, keys, key_at, fading, fading_at, fading_step, queries, query_at,
                     total)
    for e in range(wide, columns):
        total[e] = 0
    for d in range(rows if wide < columns else 0):
        factor, key, query = fading[fading_at + d * fading_step], keys[key_at + d], queries[query_at + d]
        for e in range(wide, columns):
            x = factor * before[at + d * columns + e] + key * added[e]
            after[at + d * columns + e] = x
            total[e] += query * x


@inlined
def fold_and_answer(after, before, at, added, k, key_at, fading, fading_at, fading_step, q, q_at, q_step, head, t, out, stored, factor,
                    unity, sizes):
    """Fills the state after token t and what the token's queries read of it; `stored` is a row to work in, unity holds 1."""
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    if t < first or groups == 0:  # what is read is not asked for
        fold_and_read(after, before, at, added, k, key_at, fading, fading_at, fading_step, k, key_at, stored, sizes.head_dim,
                      sizes.value_dim, sizes.micro_columns)
    for group in range(groups if t >= first else 0):
        line = head * groups + group
        query = q_at[line] + (t - first) * q_step
        if group == 0:
            fold_and_read(after, before, at, added, k, key_at, fading, fading_at, fading_step, q, query, stored, sizes.head_dim,
                          sizes.value_dim, sizes.micro_columns)
        else:
            recall(stored, after, at, q, query, unity, 0, 0, sizes.head_dim, sizes.value_dim)
        for e in range(sizes.value_dim):
            out[(line * sizes.q_len + t - first) * sizes.value_dim + e] = factor * stored[e]


@inlined
def count_key(after, before, at, keys, key_at, count):
    """Fills the sum of keys after a token, `after` may be `before` itself."""
    for d in range(count):
        after[at + d] = before[at + d] + keys[key_at + d]


@inlined
def divide_answer(out, weights, total, at, q, q_at, q_step, head, t, factor, sizes):
    """Divides what the queries of token t read by their total weights, and keeps these; a total weight of 0 counts as 1."""
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    for group in range(groups if t >= first else 0):
        line = head * groups + group
        place = line * sizes.q_len + t - first
        weight = factor * dot(q, q_at[line] + (t - first) * q_step, total, at, sizes.head_dim)
        weights[place] = weight
        if weight != 0:
            for e in range(place * sizes.value_dim, (place + 1) * sizes.value_dim):
                out[e] /= weight


@compiled
def step(counter, sizes, scale, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, decay, decay_step, beta, initial, initial_total,
         out, last, last_total, weights, written):
    """Fills what the chunked kernel fills, token by token; a task is one kv head. `last` may be `initial`, and their totals too.

    decay_step is 1 where each channel fades by itself, else 0; a state that does not fade has a single decay of 1.
    """
    number = q.dtype.type
    size = sizes.head_dim * sizes.value_dim
    added, stored, factor = np.zeros(sizes.value_dim, q.dtype), np.zeros(sizes.value_dim, q.dtype), number(scale)
    unity = np.ones(1, q.dtype)
    wide, counted = sizes.head_dim if decay_step else 1, sizes.head_dim if initial_total.size else 0
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        at = head * size
        if sizes.kv_len == 0:
            last[at : at + size] = initial[at : at + size]
            last_total[head * counted : (head + 1) * counted] = initial_total[head * counted : (head + 1) * counted]
        for t in range(sizes.kv_len):
            token, before = head * sizes.kv_len + t, initial if t == 0 else last
            fading, place = (decay, token * wide) if decay.size else (unity, 0)
            key, value = k_at[head] + t * k_step, v_at[head] + t * v_step
            if beta.size:
                recall(stored, before, at, k, key, fading, place, decay_step, sizes.head_dim, sizes.value_dim)
                for e in range(sizes.value_dim):
                    added[e] = beta[token] * (v[value + e] - stored[e])
                    written[token * sizes.value_dim + e] = added[e]
            else:
                for e in range(sizes.value_dim):
                    added[e] = v[value + e]
            fold_and_answer(last, before, at, added, k, key, fading, place, decay_step, q, q_at, q_step, head, t, out, stored, factor,
                            unity, sizes)
            if counted:
                count_key(last_total, initial_total if t == 0 else last_total, head * counted, k, key, counted)
                divide_answer(out, weights, last_total, head * counted, q, q_at, q_step, head, t, factor, sizes)
