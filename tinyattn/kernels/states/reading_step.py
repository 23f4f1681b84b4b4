"""A state of which each token reads, one token at a time: for decoding, and for chunks in which a number is not finite."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.features import NONE
from tinyattn.kernels.states.rows import dot
from tinyattn.kernels.states.step import add_row, ask_others, finish, recall, write
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.storage import Sizes
from tinyattn.kernels.tiles.threads import next_task


@compiled
def reading_step(counter, numbers, scale, q, k, v, decay, read, write_along, initial, out, last, written):
    """Fills what `reading` fills, token by token, with decays in the place of their logarithms; a task is one kv head.

    `numbers` are those of the sizes; arrays are whole and flat. As in `step`, the query reads the old state beside the vector that is
    read along.
    """
    sizes, number = Sizes(*numbers), q.dtype.type
    size, dim, columns, micro = sizes.head_dim * sizes.value_dim, sizes.head_dim, sizes.value_dim, sizes.micro_columns
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    added, stored, factor = np.zeros(columns, q.dtype), np.zeros(columns, q.dtype), number(scale)
    unity, one, tied, query, spare = np.ones(1, q.dtype), number(1), write_along.size == 0, np.zeros(dim, q.dtype), added.copy()
    nothing = unity[:0]
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        at = head * size
        if sizes.kv_len == 0:
            for x in range(at, at + size):  # an assignment to a slice compiles the text of its error
                last[x] = initial[x]
        for t in range(sizes.kv_len):
            token, before = head * sizes.kv_len + t, initial if t == 0 else last
            place, value, line = token * dim, token * columns, head * groups * sizes.q_len + t - first
            asked = t >= first and groups > 0
            queries, query_at = (q, line * dim) if asked else (k, place)
            answers, answer_at = (out, line * columns) if asked else (spare, 0)
            for d in range(dim):
                query[d] = queries[query_at + d] * decay[place + d]
            recall(stored, 0, answers, answer_at, before, at, read, place, query, 0, dim, columns, micro)
            for e in range(columns):
                added[e] = v[value + e] + stored[e] if tied else v[value + e]
                written[value + e] = added[e] if tied else stored[e]
            if tied:
                write(last, before, at, added, 0, k, place, decay, place, 1, dim, columns, micro)
            else:
                write(last, before, at, stored, 0, write_along, place, decay, place, 1, dim, columns, micro)
                add_row(answers, answer_at, one, stored, 0, dot(queries, query_at, write_along, place, dim), columns)
                write(last, last, at, added, 0, k, place, unity, 0, 0, dim, columns, micro)
            add_row(answers, answer_at, one, added, 0, dot(queries, query_at, k, place, dim), columns)
            if asked:
                finish(out, line, columns, factor, queries, query_at, nothing, 0, nothing, dim)
                ask_others(last, at, q, head, t, query, NONE, unity, out, stored, factor, nothing, 0, nothing, dim, sizes)
