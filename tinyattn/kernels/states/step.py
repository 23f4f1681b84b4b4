"""A state one token at a time: for decoding, and for chunks in which a number is not finite."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

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


@reassociated
def fold_and_read(after, before, at, added, keys, key_at, fading, fading_at, fading_step, queries, query_at, total, rows, columns):
    """Fills the new state as `fold`, and total with q^T S, in one walk over the state: two rows at a time."""
    for e in range(columns):
        total[e] = 0
    for d in range(0, rows - 1, 2):
        here, there = at + d * columns, at + (d + 1) * columns
        old, old_next, new, new_next = (before[here : here + columns], before[there : there + columns], after[here : here + columns],
                                        after[there : there + columns])
        factor, key, query = fading[fading_at + d * fading_step], keys[key_at + d], queries[query_at + d]
        factor_next, key_next, query_next = fading[fading_at + (d + 1) * fading_step], keys[key_at + d + 1], queries[query_at + d + 1]
        for e in range(columns):
            x, y = factor * old[e] + key * added[e], factor_next * old_next[e] + key_next * added[e]
            new[e], new_next[e] = x, y
            total[e] += query * x + query_next * y
    for d in range(rows // 2 * 2, rows):
        here = at + d * columns
        for e in range(columns):
            x = fading[fading_at + d * fading_step] * before[here + e] + keys[key_at + d] * added[e]
            after[here + e] = x
            total[e] += queries[query_at + d] * x


@inlined
def fold_and_answer(after, before, at, added, k, key_at, fading, fading_at, fading_step, q, q_at, q_step, head, t, out, stored, factor,
                    unity, sizes):
    """Fills the state after token t and what the token's queries read of it; `stored` is a row to work in, unity holds 1."""
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    if t < first or groups == 0:
        fold(after, before, at, added, k, key_at, fading, fading_at, fading_step, sizes.head_dim, sizes.value_dim)
    for group in range(groups if t >= first else 0):
        line = head * groups + group
        query = q_at[line] + (t - first) * q_step
        if group == 0:
            fold_and_read(after, before, at, added, k, key_at, fading, fading_at, fading_step, q, query, stored, sizes.head_dim,
                          sizes.value_dim)
        else:
            recall(stored, after, at, q, query, unity, 0, 0, sizes.head_dim, sizes.value_dim)
        for e in range(sizes.value_dim):
            out[(line * sizes.q_len + t - first) * sizes.value_dim + e] = factor * stored[e]


@compiled
def step(counter, sizes, scale, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, decay, decay_step, beta, initial, out, last,
         written):
    """Fills what the chunked kernel fills, token by token; a task is one kv head.

    decay_step is 1 where each channel fades by itself, else 0; a state that does not fade has a single decay of 1.
    """
    number = q.dtype.type
    size = sizes.head_dim * sizes.value_dim
    added, stored, factor = np.zeros(sizes.value_dim, q.dtype), np.zeros(sizes.value_dim, q.dtype), number(scale)
    unity = np.ones(1, q.dtype)
    wide = sizes.head_dim if decay_step else 1
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        at = head * size
        if sizes.kv_len == 0:
            last[at : at + size] = initial[at : at + size]
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
