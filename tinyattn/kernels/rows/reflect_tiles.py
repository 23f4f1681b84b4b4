"""Steps on one tile of attention whose tokens reflect the queries: products, and what the gates of forgetting add."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyattn.kernels.tiles.jit import inlined, reassociated
from tinyattn.kernels.tiles.product import product_add, product_set

# A band that leaves nothing out.
FAR = 1 << 30


class Reflecting(NamedTuple):
    """The sizes of a call: all heads, heads of a kv head, chunks of keys, those that hold queries, and how many are passed at once.

    All arrays are filled up with zeros to whole chunks and micro tiles.
    """

    heads: int
    groups: int
    chunks: int
    blocks: int
    together: int
    chunk: int
    head_width: int
    value_width: int
    micro_columns: int
    lanes: int


@inlined
def times(c, c_at, a, a_at, a_row, a_col, b, rows, columns, depth, micro):
    """C = A B, C row by row, B in panels. Places and bands go on as no literals: each would compile the product anew."""
    product_set(c, np.intp(c_at), columns, micro, a, np.intp(a_at), a_row, a_col, b, depth * micro, rows, columns, depth,
                micro, np.intp(-FAR), np.intp(FAR))


@inlined
def plus(c, c_at, a, a_at, a_row, a_col, b, rows, columns, depth, micro, below, above):
    """C += A B, C row by row, B in panels; of row r of A only the steps r + below to r + above are taken."""
    product_add(c, np.intp(c_at), columns, micro, a, np.intp(a_at), a_row, a_col, b, depth * micro, rows, columns, depth,
                micro, np.intp(below), np.intp(above))


@inlined
def copy(target, target_at, source, source_at, count):
    """Copies `count` numbers."""
    into, out_of = np.uintp(target_at), np.uintp(source_at)
    for x in range(np.uintp(count)):
        target[into + x] = source[out_of + x]


@inlined
def keep_upper(x, size, first):
    """Writes 0 over the elements (r, c) of a square with c < r + first."""
    for r in range(size):
        for c in range(min(size, r + first)):
            x[r * size + c] = 0


@inlined
def forget(s, logs, before, cleared, key_at, query_at, size, row):
    """Adds to scores [key][query] of an earlier chunk the gates between; -inf where one of them is.

    Summed from the key to the end of its chunk, over the chunks between, and from the start of the query's chunk: all are at most 0,
    so that their sum loses no digits, as the difference of two sums from the first token on would.
    """
    kind_of, last = s.dtype.type, key_at + size - 1
    total = before[query_at // size] - before[key_at // size + 1]
    for i in range(size):
        total += logs[query_at + i]
        row[i] = total if cleared[query_at + i] == cleared[last] else -np.inf
    total = 0.0
    for j in range(size - 1, -1, -1):
        key = kind_of(total if cleared[last] == cleared[key_at + j] else -np.inf)
        into = np.uintp(j * size)
        for i in range(np.uintp(size)):
            s[into + i] += row[i] + key
        total += logs[key_at + j]


@inlined
def forget_near(s, logs, cleared, at, size, gated):
    """Does the same to the scores of a chunk with itself, and hides later keys."""
    for j in range(size):
        for i in range(j):
            s[j * size + i] = -np.inf
        if gated:
            total = 0.0
            for i in range(j + 1, size):
                total += logs[at + i]
                s[j * size + i] += total if cleared[at + i] == cleared[at + j] else -np.inf


@reassociated
def total_of(x, at, count):
    """Returns the sum of some numbers, in float64."""
    total, start = 0.0, np.uintp(at)
    for n in range(np.uintp(count)):
        total += np.float64(x[start + n])
    return total


@inlined
def add_gate_slopes(d_s, d_sums, key_at, query_at, size, row):
    """Adds to the gradients of the sums of gates those of scores [key][query]: plus at the query, minus at the key."""
    for i in range(size):
        row[i] = 0
    for j in range(size):
        d_sums[key_at + j] -= total_of(d_s, j * size, size)
        out_of = np.uintp(j * size)
        for i in range(np.uintp(size)):
            row[i] += d_s[out_of + i]
    for i in range(size):
        d_sums[query_at + i] += row[i]
