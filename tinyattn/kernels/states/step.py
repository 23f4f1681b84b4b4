"""A state one token at a time: for decoding, and for chunks in which a number is not finite."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.features import NONE, load_features, mapped_dim
from tinyattn.kernels.states.passes import WIDE, fold_columns, fold_wide, recall_columns, recall_wide, write_columns, write_wide
from tinyattn.kernels.states.rows import dot
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.storage import Sizes
from tinyattn.kernels.tiles.threads import next_task


@inlined
def recall(total, total_at, other, other_at, state, at, a, a_at, b, b_at, rows, columns, micro):
    """Fills a row of total with a^T S, and one of other with b^T S, in one walk over the state."""
    several, wide = columns // (WIDE * micro) * WIDE * micro, columns // micro * micro
    for c in range(0, several, WIDE * micro):
        recall_wide(state, at + c, columns, rows, a, a_at, b, b_at, total, total_at + c, other, other_at + c)
    for c in range(several, wide, micro):
        recall_columns(state, at + c, columns, rows, a, a_at, b, b_at, total, total_at + c, other, other_at + c)
    for e in range(wide, columns):
        total[total_at + e] = 0
        other[other_at + e] = 0
    for d in range(rows if wide < columns else 0):
        for e in range(wide, columns):
            held = state[at + d * columns + e]
            total[total_at + e] += a[a_at + d] * held
            other[other_at + e] += b[b_at + d] * held


@inlined
def write(after, before, at, added, added_at, keys, key_at, fading, fading_at, fading_step, rows, columns, micro):
    """Fills the new state, diag(fading) S + k x^T; `after` may be `before` itself."""
    several, wide = columns // (WIDE * micro) * WIDE * micro, columns // micro * micro
    for c in range(0, several, WIDE * micro):
        write_wide(after, before, at + c, columns, rows, added, added_at + c, keys, key_at, fading, fading_at, fading_step, keys,
                   key_at, added, added_at)
    for c in range(several, wide, micro):
        write_columns(after, before, at + c, columns, rows, added, added_at + c, keys, key_at, fading, fading_at, fading_step, keys,
                      key_at, added, added_at)
    for d in range(rows if wide < columns else 0):
        factor, key = fading[fading_at + d * fading_step], keys[key_at + d]
        for e in range(wide, columns):
            after[at + d * columns + e] = factor * before[at + d * columns + e] + key * added[added_at + e]


@inlined
def fold_and_read(after, before, at, added, added_at, keys, key_at, fading, fading_at, fading_step, queries, query_at, total, total_at,
                  rows, columns, micro):
    """Fills the new state as `write`, and a row of total with q^T S, in one walk over the state."""
    several, wide = columns // (WIDE * micro) * WIDE * micro, columns // micro * micro
    for c in range(0, several, WIDE * micro):
        fold_wide(after, before, at + c, columns, rows, added, added_at + c, keys, key_at, fading, fading_at, fading_step, queries,
                  query_at, total, total_at + c)
    for c in range(several, wide, micro):
        fold_columns(after, before, at + c, columns, rows, added, added_at + c, keys, key_at, fading, fading_at, fading_step, queries,
                     query_at, total, total_at + c)
    for e in range(wide, columns):
        total[total_at + e] = 0
    for d in range(rows if wide < columns else 0):
        factor, key, query = fading[fading_at + d * fading_step], keys[key_at + d], queries[query_at + d]
        for e in range(wide, columns):
            x = factor * before[at + d * columns + e] + key * added[added_at + e]
            after[at + d * columns + e] = x
            total[total_at + e] += query * x


@inlined
def correct(added, value, at, strength, kept, stored, columns):
    """Fills a row of added with strength (v - kept stored)."""
    new, given = added[at : at + columns], value[at : at + columns]
    for e in range(columns):
        new[e] = strength * (given[e] - kept * stored[e])


@inlined
def add_row(x, at, kept, added, added_at, factor, columns):
    """Replaces a row of x by kept x + factor added."""
    row, more = x[at : at + columns], added[added_at : added_at + columns]
    for e in range(columns):
        row[e] = kept * row[e] + factor * more[e]


@inlined
def count_key(after, before, at, keys, key_at, spare, count):
    """Fills the sum of keys after a token, by a spare row: `after` may be `before` itself, which is added to number by number."""
    old, more, new, to = before[at : at + count], keys[key_at : key_at + count], spare[:count], after[at : at + count]
    for d in range(count):
        new[d] = old[d] + more[d]
    for d in range(count):
        to[d] = new[d]


@inlined
def finish(out, line, columns, factor, queries, query_at, total, total_at, weights, rows):
    """Multiplies what a query read by a factor.

    Where there are weights, it is divided by the total weight of the sum of keys, which is kept there; 0 counts as 1.
    """
    row = out[line * columns : (line + 1) * columns]
    if factor != 1:
        for e in range(columns):
            row[e] *= factor
    if weights.size:
        weight = factor * dot(queries, query_at, total, total_at, rows)
        weights[line] = weight
        for e in range(columns if weight != 0 else 0):
            row[e] /= weight


@inlined
def ask_others(state, at, q, head, t, query, feature, waves, out, stored, factor, total, total_at, weights, dim, sizes):
    """Fills what the queries of token t read of the state, but the first of the group, two in one walk."""
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    columns, width = sizes.value_dim, sizes.head_width
    for group in range(1, groups if t >= first else 0, 2):
        line, more = (head * groups + group) * sizes.q_len + t - first, group + 1 < groups
        other = line + sizes.q_len if more else line
        queries, a, b = (q, line * dim, other * dim) if feature == NONE else (query, 0, width)
        if feature != NONE:
            load_features(query, width, 1, q, line * dim, dim, 1, sizes.head_dim, feature, waves, t, sizes.micro_columns)
            load_features(query[width:], width, 1, q, other * dim, dim, 1, sizes.head_dim, feature, waves, t, sizes.micro_columns)
        recall(out, line * columns, out if more else stored, other * columns if more else 0, state, at, queries, a, queries, b,
               sizes.head_dim, columns, sizes.micro_columns)
        finish(out, line, columns, factor, queries, a, total, total_at, weights, sizes.head_dim)
        if more:
            finish(out, other, columns, factor, queries, b, total, total_at, weights, sizes.head_dim)


@compiled
def step(counter, numbers, scale, feature, waves, q, k, v, decay, decay_step, beta, initial, initial_total, out, last, last_total,
         weights, written):
    """Fills what the chunked kernel fills, token by token; a task is one kv head. `last` may be `initial`, and their totals too.

    `numbers` are those of the sizes: a tuple takes a quarter of the time of a named one to come in. Arrays are whole and flat.
    decay_step is 1 where each channel fades by itself, else 0; a state that does not fade has a single decay of 1. With a beta
    the query reads the old state in the walk of the key, and of the new one nothing: q^T (a S + k x^T) = a q^T S + (q.k) x. Rows are
    read and written where they stand: copying those of a head of 128 x 128 takes a fifth of its time.
    """
    sizes, number = Sizes(*numbers), q.dtype.type
    size, dim, micro = sizes.head_dim * sizes.value_dim, mapped_dim(sizes.head_dim, feature), sizes.micro_columns
    rows, columns, width = sizes.head_dim, sizes.value_dim, sizes.head_width
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    stored, spare, factor = np.zeros(columns, q.dtype), np.zeros(columns, q.dtype), number(scale)
    unity, key, query = np.ones(1, q.dtype), np.zeros(width, q.dtype), np.zeros(2 * width, q.dtype)
    wide, counted = rows if decay_step else 1, rows if initial_total.size else 0
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        at, total_at = head * size, head * counted
        if sizes.kv_len == 0:
            for x in range(at, at + size):  # an assignment to a slice compiles the text of its error
                last[x] = initial[x]
            for x in range(total_at, total_at + counted):
                last_total[x] = initial_total[x]
        for t in range(sizes.kv_len):
            token, before = head * sizes.kv_len + t, initial if t == 0 else last
            fading, place = (decay, token * wide) if decay.size else (unity, 0)
            value, line = token * columns, head * groups * sizes.q_len + t - first
            asked = t >= first and groups > 0
            keys, key_at = (k, token * dim) if feature == NONE else (key, 0)
            if feature != NONE:
                load_features(key, width, 1, k, token * dim, dim, 1, rows, feature, waves, t, micro)
            if counted:
                count_key(last_total, initial_total if t == 0 else last_total, total_at, keys, key_at, query, counted)
            queries, query_at = (query, 0) if feature != NONE else (q, line * dim) if asked else (keys, key_at)
            if feature != NONE and asked:
                load_features(query, width, 1, q, line * dim, dim, 1, rows, feature, waves, t, micro)
            if beta.size:
                answers, answer_at = (out, line * columns) if asked else (spare, 0)
                recall(stored, 0, answers, answer_at, before, at, keys, key_at, queries, query_at, rows, columns, micro)
                correct(written, v, value, beta[token], fading[place], stored, columns)
                write(last, before, at, written, value, keys, key_at, fading, place, decay_step, rows, columns, micro)
                add_row(answers, answer_at, fading[place], written, value, dot(queries, query_at, keys, key_at, rows), columns)
            elif asked:
                fold_and_read(last, before, at, v, value, keys, key_at, fading, place, decay_step, queries, query_at, out,
                              line * columns, rows, columns, micro)
            else:
                write(last, before, at, v, value, keys, key_at, fading, place, decay_step, rows, columns, micro)
            if asked:
                finish(out, line, columns, factor, queries, query_at, last_total, total_at, weights, rows)
                ask_others(last, at, q, head, t, query, feature, waves, out, stored, factor, last_total, total_at, weights, dim, sizes)
