"""Fading per channel: products of decays in blocks of a chunk, and the scores that they make of queries and keys.

A score sums q_id k_jd times the decays of channel d after j and up to i. Where no channel fades far within a chunk, this is a product
of two tiles, the queries times the decays since the chunk's start and the keys divided by theirs. Elsewhere that would overflow: over
the start of i's block it is a product of the queries faded since there and the keys faded until there, where no factor is above 1, and
within a block it is summed as it stands.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.registers import keep_row
from tinyattn.kernels.states.rows import load_rows
from tinyattn.kernels.tiles.jit import inlined, reassociated
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.product import product_set
from tinyattn.kernels.tiles.vector import column_exp, scale_row, transpose_rows

# Tokens of a block: 8 costs more products, 32 more sums of pairs.
BLOCK = 16
# Keys are divided by what fades a channel within a chunk where this is not less: far from overflow, and each product keeps its digits.
LEAST = 2.0 ** -60


@reassociated
def times(x, x_at, y, y_at, z, z_at, count):
    """Fills x with the products of y and z."""
    for c in range(count):
        n = np.uint64(c)
        x[np.uint64(x_at) + n] = y[np.uint64(y_at) + n] * z[np.uint64(z_at) + n]


@reassociated
def add_product(x, x_at, y, y_at, z, z_at, factor, count):
    """Adds factor times the products of y and z to x."""
    for c in range(count):
        n = np.uint64(c)
        x[np.uint64(x_at) + n] += factor * y[np.uint64(y_at) + n] * z[np.uint64(z_at) + n]


@inlined
def fill_channels(decay, since, until, within, ahead, inverse, far, log_decay, at, rows, sizes, shift, spare):
    """Fills tiles [chunk][head_width] with the decays and their products, since the chunk's start and until its end.

    A token's own decay fades the state that it finds. Returns whether keys may be divided by what is since the start, and fills
    `inverse` then; else `within` and `ahead`, since the start and until the end of a token's block. Where `far` is None no channel of
    the call fades far, and Numba compiles none of that: an eighth of a first call.
    """
    width, last = sizes.head_width, (rows - 1) * sizes.head_width
    load_rows(decay, width, sizes.kv_tile, log_decay, at, sizes.head_dim, rows, sizes.head_dim, decay.dtype.type(1),
              sizes.micro_columns)
    column_exp(decay, rows, width, shift, spare)
    for x in range(width):
        since[x] = within[x] = decay[x]
        until[last + x] = ahead[last + x] = 1
    for i in range(1, rows):
        times(since, i * width, since, (i - 1) * width, decay, i * width, width)
    for j in range(rows - 2, -1, -1):
        times(until, j * width, until, (j + 1) * width, decay, (j + 1) * width, width)
    gentle = True
    for x in range(width):
        gentle = gentle and since[last + x] >= LEAST
    if far is None or gentle:
        for x in range(rows * width):
            inverse[x] = 1 / since[x]
        return True
    for i in range(1, rows):
        if i % BLOCK:
            times(within, i * width, within, (i - 1) * width, decay, i * width, width)
        else:
            for x in range(i * width, (i + 1) * width):
                within[x] = decay[x]
    for j in range(rows - 2, -1, -1):
        if (j + 1) % BLOCK:
            times(ahead, j * width, ahead, (j + 1) * width, decay, (j + 1) * width, width)
        else:
            ahead[j * width : (j + 1) * width] = 1
    return False


@inlined
def faded_rows(target, x, factors, rows, width):
    """Fills target with the products of two tiles."""
    times(target, 0, x, 0, factors, 0, rows * width)


@inlined
def fade_state(state, factors, at, dim, columns, micro):
    """Multiplies each row of a state in panels by its channel's factor."""
    for column in range(0, columns, micro):
        for d in range(dim):
            scale_row(state, column * dim + d * micro, state, column * dim + d * micro, factors[at + d])


@inlined
def advance(kept, keys, within, ahead, start, rows, width):
    """Fades the kept keys over the block that begins at start, and adds those of the block, faded until its end."""
    last = min(start + BLOCK, rows) - 1
    for j in range(start):
        times(kept, j * width, kept, j * width, within, last * width, width)
    times(kept, start * width, keys, start * width, ahead, start * width, (last + 1 - start) * width)


@reassociated
def faded_dot(key, decay, decay_at, query, query_at, count):
    """Returns key . query after the key has faded by one more token's decays."""
    total = key.dtype.type(0)
    for c in range(count):
        n = np.uint64(c)
        faded = key[n] * decay[np.uint64(decay_at) + n]
        key[n] = faded
        total += faded * query[np.uint64(query_at) + n]
    return total


@inlined
def block_scores(scores, queries, keys, decay, key, ones, start, rows, chunk, width):
    """Fills the scores between the tokens of one block, 0 where the key is later."""
    stop = min(start + BLOCK, rows)
    for j in range(start, stop):
        times(key, 0, keys, j * width, ones, 0, width)
        scores[j * chunk + j] = faded_dot(key, ones, 0, queries, j * width, width)
        for i in range(j + 1, stop):
            scores[i * chunk + j] = faded_dot(key, decay, i * width, queries, i * width, width)
        for i in range(start, j):
            scores[i * chunk + j] = 0
    for i in range(start, stop):
        for j in range(stop, min(start + BLOCK, chunk)):
            scores[i * chunk + j] = 0


@inlined
def channel_scores(scores, queries, recent, kept, kept_t, keys, decay, key, ones, start, rows, sizes):
    """Fills the rows of scores of one block: `recent` are the queries faded since its start, `kept` the earlier keys until there."""
    chunk, width, micro = sizes.kv_tile, sizes.head_width, sizes.micro_columns
    if start:
        reach = (start + micro - 1) // micro * micro
        transpose_rows(kept_t, reach, kept, 0, width, start, kept.dtype.type(1), sizes.lanes, micro)
        product_set(scores, start * chunk, chunk, micro, recent, start * width, width, 1, kept_t, width * micro,
                    min(BLOCK, rows - start), start, sizes.head_dim, micro, -2 * chunk, 2 * chunk)
    block_scores(scores, queries, keys, decay, key, ones, start, rows, chunk, width)


@inlined
def keep_below(scores, ones, ahead, rows, chunk, micro):
    """Clears row i of scores from column i + ahead on, to the end of its micro tile."""
    for i in range(rows):
        for c in range(0, i + 1, micro):
            keep_row(scores, i * chunk + c, ones, 0, scores.dtype.type(1), i + ahead - c)


@inlined
def whole_scores(scores, recent, kept_t, ones, rows, sizes):
    """Fills scores on and below the diagonal: `recent` are the queries faded since the start, kept_t the divided keys, turned."""
    chunk, width, micro = sizes.kv_tile, sizes.head_width, sizes.micro_columns
    product_set(scores, 0, chunk, micro, recent, 0, width, 1, kept_t, width * micro, rows, rows, sizes.head_dim, micro, -chunk, 0)
    keep_below(scores, ones, 1, rows, chunk, micro)


@inlined
def all_scores(scores, tile, recent, kept, kept_t, keys, decay, within, ahead, key, ones, rows, gentle, far, sizes):
    """Fills scores on and below the diagonal; `recent` comes as the tile faded since the chunk's start.

    Where no channel fades far, kept_t comes as the keys divided by what fades them, turned; else it and kept are tiles to work in.
    """
    if far is None or gentle:
        whole_scores(scores, recent, kept_t, ones, rows, sizes)
        return
    faded_rows(recent, tile, within, rows, sizes.head_width)
    for block in range(0, rows, BLOCK):
        channel_scores(scores, tile, recent, kept, kept_t, keys, decay, key, ones, block, rows, sizes)
        advance(kept, keys, within, ahead, block, rows, sizes.head_width)


@inlined
def clear_above(scores, rows, width):
    """Clears row i from column i on, to the end of its micro tile, and the rows that fill up the last micro tile."""
    for i in range(rows):
        for j in range(i, min(i // ROWS * ROWS + ROWS, width)):
            scores[i * width + j] = 0
    for x in range(rows * width, (rows + ROWS - 1) // ROWS * ROWS * width):
        scores[x] = 0


@inlined
def fade_reads(recent, reads, since, rows, width):
    """Fills recent with rows that read before their tokens are written, each faded until just before its token."""
    for c in range(width):
        recent[c] = reads[c]
    times(recent, width, reads, width, since, 0, (rows - 1) * width)
