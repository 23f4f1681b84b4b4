"""A state one token at a time: for decoding, and for chunks in which a number is not finite."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.features import load_features, mapped_dim
from tinyattn.kernels.states.registers import WIDE, fold_columns, fold_wide, recall_columns, recall_wide
from tinyattn.kernels.states.rows import dot
from tinyattn.kernels.tiles.jit import compiled, inlined, reassociated
from tinyattn.kernels.tiles.storage import Sizes
from tinyattn.kernels.tiles.threads import next_task


@inlined
def recall(total, state, at, keys, key_at, fading, fading_at, fading_step, rows, columns, micro):
    """Fills total with k^T diag(fading) S: what the state stores under a key."""
    several, wide = columns // (WIDE * micro) * WIDE * micro, columns // micro * micro
    for column in range(0, several, WIDE * micro):
        recall_wide(state, at, columns, rows, column, keys, key_at, fading, fading_at, fading_step, total)
    for column in range(several, wide, micro):
        recall_columns(state, at, columns, rows, column, keys, key_at, fading, fading_at, fading_step, total)
    for e in range(wide, columns):
        total[e] = 0
    for d in range(rows if wide < columns else 0):
        factor = keys[key_at + d] * fading[fading_at + d * fading_step]
        for e in range(wide, columns):
            total[e] += factor * state[at + d * columns + e]


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
def fold_and_answer(after, before, at, added, keys, key_at, fading, fading_at, fading_step, q, head, t, query, feature, waves, out,
                    stored, factor, unity, dim, sizes):
    """Fills the state after token t and what the token's queries, the features of q (.., q_len, dim), read of it.

    `stored` and `query` are rows to work in, unity holds 1.
    """
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    if t < first or groups == 0:  # what is read is not asked for
        fold_and_read(after, before, at, added, keys, key_at, fading, fading_at, fading_step, keys, key_at, stored, sizes.head_dim,
                      sizes.value_dim, sizes.micro_columns)
    for group in range(groups if t >= first else 0):
        line = (head * groups + group) * sizes.q_len + t - first
        load_features(query, sizes.head_width, 1, q, line * dim, dim, 1, sizes.head_dim, feature, waves, t, sizes.micro_columns)
        if group == 0:
            fold_and_read(after, before, at, added, keys, key_at, fading, fading_at, fading_step, query, 0, stored, sizes.head_dim,
                          sizes.value_dim, sizes.micro_columns)
        else:
            recall(stored, after, at, query, 0, unity, 0, 0, sizes.head_dim, sizes.value_dim, sizes.micro_columns)
        for e in range(sizes.value_dim):
            out[line * sizes.value_dim + e] = factor * stored[e]


@inlined
def count_key(after, before, at, keys, count):
    """Fills the sum of keys after a token, `after` may be `before` itself."""
    for d in range(count):
        after[at + d] = before[at + d] + keys[d]


@inlined
def divide_answer(out, weights, total, at, q, head, t, query, feature, waves, factor, dim, sizes):
    """Divides what the queries of token t read by their total weights, and keeps these; a total weight of 0 counts as 1."""
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    for group in range(groups if t >= first else 0):
        line = (head * groups + group) * sizes.q_len + t - first
        load_features(query, sizes.head_width, 1, q, line * dim, dim, 1, sizes.head_dim, feature, waves, t, sizes.micro_columns)
        weight = factor * dot(query, 0, total, at, sizes.head_dim)
        weights[line] = weight
        if weight != 0:
            for e in range(line * sizes.value_dim, (line + 1) * sizes.value_dim):
                out[e] /= weight


@compiled
def step(counter, numbers, scale, feature, waves, q, k, v, decay, decay_step, beta, initial, initial_total, out, last, last_total,
         weights, written):
    """Fills what the chunked kernel fills, token by token; a task is one kv head. `last` may be `initial`, and their totals too.

    `numbers` are those of the sizes: a tuple takes a quarter of the time of a named one to come in. Arrays are whole and flat.
    decay_step is 1 where each channel fades by itself, else 0; a state that does not fade has a single decay of 1.
    """
    sizes, number = Sizes(*numbers), q.dtype.type
    size, dim, micro = sizes.head_dim * sizes.value_dim, mapped_dim(sizes.head_dim, feature), sizes.micro_columns
    added, stored, factor = np.zeros(sizes.value_dim, q.dtype), np.zeros(sizes.value_dim, q.dtype), number(scale)
    unity, key, query = np.ones(1, q.dtype), np.zeros(sizes.head_width, q.dtype), np.zeros(sizes.head_width, q.dtype)
    wide, counted = sizes.head_dim if decay_step else 1, sizes.head_dim if initial_total.size else 0
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        at = head * size
        if sizes.kv_len == 0:
            for x in range(at, at + size):  # an assignment to a slice compiles the text of its error
                last[x] = initial[x]
            for x in range(head * counted, (head + 1) * counted):
                last_total[x] = initial_total[x]
        for t in range(sizes.kv_len):
            token, before = head * sizes.kv_len + t, initial if t == 0 else last
            fading, place = (decay, token * wide) if decay.size else (unity, 0)
            value = token * sizes.value_dim
            load_features(key, sizes.head_width, 1, k, token * dim, dim, 1, sizes.head_dim, feature, waves, t, micro)
            if beta.size:
                recall(stored, before, at, key, 0, fading, place, decay_step, sizes.head_dim, sizes.value_dim, micro)
                for e in range(sizes.value_dim):
                    added[e] = beta[token] * (v[value + e] - stored[e])
                    written[value + e] = added[e]
            else:
                for e in range(sizes.value_dim):
                    added[e] = v[value + e]
            fold_and_answer(last, before, at, added, key, 0, fading, place, decay_step, q, head, t, query, feature, waves, out, stored,
                            factor, unity, dim, sizes)
            if counted:
                count_key(last_total, initial_total if t == 0 else last_total, head * counted, key, counted)
                divide_answer(out, weights, last_total, head * counted, q, head, t, query, feature, waves, factor, dim, sizes)
