"""The gradients of decays per channel, and of the queries and keys of scores between faded tokens."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.channels import BLOCK, add_product, advance, all_scores, fade_reads, faded_rows, keep_below, times
from tinyattn.kernels.states.chunk import add_tokens, through_pairs, through_reads, through_scores
from tinyattn.kernels.states.onward import onward
from tinyattn.kernels.tiles.jit import inlined, reassociated
from tinyattn.kernels.tiles.product import product_add, product_set
from tinyattn.kernels.tiles.vector import column_weighed, pack_rows


@inlined
def state_slope(bridge, factors, at, state_t, d_state_t, width, columns, micro, shift, sums):
    """Fills bridge with each channel's factor times the inner product of its row of S and of dS', which come turned.

    In their own dtype, as all that it is added to is: along the rows and in float64 it took a fifth of the whole backward.
    """
    for d in range(0, width, micro):
        for c in range(micro):
            sums[c] = 0
        column_weighed(onward(state_t, d * columns), onward(d_state_t, d * columns), columns, micro, shift, sums)
        for c in range(micro):
            bridge[d + c] = factors[at + d + c] * sums[c]


@reassociated
def collect(total, d_score, query, query_at, decay, decay_at, count):
    """Replaces total by (total + d_score query) decay."""
    for c in range(count):
        n = np.uint64(c)
        total[n] = (total[n] + d_score * query[np.uint64(query_at) + n]) * decay[np.uint64(decay_at) + n]


@inlined
def block_slopes(d_queries, d_keys, d_scores, queries, keys, decay, key, ones, start, rows, chunk, width):
    """Adds to dQ and dK what the scores between different tokens of one block give them."""
    stop = min(start + BLOCK, rows)
    for j in range(start, stop):
        times(key, 0, keys, j * width, ones, 0, width)
        for i in range(j + 1, stop):
            times(key, 0, key, 0, decay, i * width, width)
            add_product(d_queries, i * width, key, 0, ones, 0, d_scores[i * chunk + j], width)
        for d in range(width):
            key[d] = 0
        for i in range(stop - 1, j, -1):
            collect(key, d_scores[i * chunk + j], queries, i * width, decay, i * width, width)
        add_product(d_keys, j * width, key, 0, ones, 0, key.dtype.type(1), width)


@inlined
def score_slopes(d_queries, d_keys, own, d_scores, queries, recent, keys, divided, kept, d_kept, panels, decay, within, ahead, key,
                 ones, rows, gentle, far, sizes):
    """Adds to dQ and dK what the gradients of the scores of different tokens give them, and keeps those of one token in `own`.

    They reach a query and a key as the scores did. Where no channel fades far, that is over the chunk's start: `divided` holds the
    keys divided by what fades them, in panels, and what is added to dQ and dK is before either is faded. Elsewhere it is over the
    start of the query's block: upwards over the blocks dQ gains dM times the keys kept until there, downwards the kept keys gain dM^T
    times the queries. `recent` comes as the queries faded since the chunk's start.
    """
    chunk, width, micro, one = sizes.kv_tile, sizes.head_width, sizes.micro_columns, d_keys.dtype.type(1)
    everywhere, nowhere = 2 * chunk + width, -2 * chunk - width
    for i in range(rows):
        own[i] = d_scores[i * chunk + i]
    if far is None or gentle:
        keep_below(d_scores, ones, 0, rows, chunk, micro)
        product_add(d_queries, 0, width, micro, d_scores, 0, chunk, 1, divided, chunk * micro, rows, width, rows, micro, -chunk, 0)
        pack_rows(panels, chunk, recent, 0, width, rows, one, micro)
        product_add(d_keys, 0, width, micro, d_scores, 0, 1, chunk, panels, chunk * micro, rows, width, rows, micro, 0, chunk)
        return
    faded_rows(recent, queries, within, rows, width)
    for block in range(0, rows, BLOCK):
        there = min(BLOCK, rows - block)
        if block:
            pack_rows(panels, chunk, kept, 0, width, block, one, micro)
            product_set(d_kept, block * width, width, micro, d_scores, block * chunk, chunk, 1, panels, chunk * micro, there, width,
                        block, micro, nowhere, everywhere)
            add_product(d_queries, block * width, d_kept, block * width, within, block * width, one, there * width)
        advance(kept, keys, within, ahead, block, rows, width)
    for at in range(d_kept.size):
        d_kept[at] = 0
    for block in range((rows - 1) // BLOCK * BLOCK, -1, -BLOCK):
        there = min(BLOCK, rows - block)
        add_product(d_keys, block * width, d_kept, block * width, ahead, block * width, one, there * width)
        for j in range(block):
            times(d_kept, j * width, d_kept, j * width, within, (block + there - 1) * width, width)
        if block:
            pack_rows(panels, chunk, recent, block * width, width, there, one, micro)
            product_add(d_kept, 0, width, micro, d_scores, block * chunk, 1, chunk, panels, chunk * micro, block, width, there, micro,
                        nowhere, everywhere)
        block_slopes(d_queries, d_keys, d_scores, queries, keys, decay, key, ones, block, rows, chunk, width)


@inlined
def reader_slopes(d_x, d_queries, d_keys, own, scores, d_scores, queries, recent, d_tile, d_panels, x_t, keys, keys_t, divided, kept,
                  d_kept, panels, decay, within, ahead, key, ones, rows, gentle, far, known, sizes):
    """Adds to the panels dX, to dQ and dK what the scores of a tile of queries with the keys give them; see `score_slopes`.

    The gradient of what the queries read comes in the tile and in panels. With `known`, dX has been computed otherwise.
    """
    if not known:
        all_scores(scores, queries, recent, kept, keys_t, keys, decay, within, ahead, key, ones, rows, gentle, far, sizes)
        through_scores(d_x, scores, d_panels, rows, sizes)
    through_pairs(d_scores, d_tile, x_t, rows, sizes)
    score_slopes(d_queries, d_keys, own, d_scores, queries, recent, keys, divided, kept, d_kept, panels, decay, within, ahead, key,
                 ones, rows, gentle, far, sizes)


@inlined
def own_slopes(d_queries, d_keys, own, queries, keys, ones, rows, width):
    """Adds to dQ and dK what the scores between a token and itself give them, `own` of each."""
    for i in range(rows):
        add_product(d_queries, i * width, keys, i * width, ones, 0, own[i], width)
        add_product(d_keys, i * width, queries, i * width, ones, 0, own[i], width)


@inlined
def read_before_slopes(d_x, d_reads, d_keys, d_rest, d_state, flow, own, scores, d_scores, reads, recent, d_tile, d_panels, x_t, keys,
                       keys_t, divided, kept, d_kept, panels, state_t, decay, since, within, ahead, key, ones, rows, gentle, far,
                       known, sides, sizes):
    """Fills d_reads with the gradient of rows that read before their tokens are written, and adds what they give to all else.

    The arrays of keys hold `sides` tiles. Of the first, dX is as `known` says. From the second row on, a row stands where the token
    before reads; the first reads the state alone.
    """
    chunk, width, one = sizes.kv_tile, sizes.head_width, d_keys.dtype.type(1)
    wide, tall = chunk * width, chunk * sizes.value_width
    through_reads(d_reads, d_tile, state_t, rows, sizes)
    fade_reads(recent, reads, since, rows, width)
    add_tokens(d_state, recent, d_panels, rows, sizes)
    if not gentle:
        times(d_reads, width, d_reads, width, since, 0, (rows - 1) * width)
    for side in range(sides):
        fade_reads(recent, reads, since, rows, width)
        reader_slopes(onward(d_x, side * tall), onward(d_reads, width), onward(d_keys, side * wide), onward(own, side * chunk),
                      scores, d_scores, onward(reads, width), onward(recent, width), onward(d_tile, sizes.value_width),
                      onward(d_panels, sizes.micro_columns), onward(x_t, side * tall), onward(keys, side * wide),
                      onward(keys_t, side * wide), onward(divided, side * wide), kept, d_kept, panels, decay, within, ahead, key,
                      ones, rows - 1, gentle, far, known and side == 0, sizes)
    if gentle:
        times(d_reads, width, d_reads, width, since, 0, (rows - 1) * width)
    add_product(flow, 0, reads, width, d_reads, width, one, (rows - 1) * width)
    for side in range(sides):
        own_slopes(onward(d_reads, width), onward(d_rest, side * wide), onward(own, side * chunk), onward(reads, width),
                   onward(keys, side * wide), ones, rows - 1, width)


@reassociated
def decay_slopes(d_log_decay, token, decay, flow, later, bridge, total, rows, width, dim):
    """Fills the gradient of each log decay: the flow from its token on, what earlier keys leave to the next chunk, the state's.

    It is exactly 0 where the decay is 0.
    """
    for d in range(np.uint64(dim)):
        total[d] = bridge[d]
    for t in range(rows - 1, -1, -1):
        row, slopes = flow[t * width : t * width + dim], d_log_decay[(token + t) * dim : (token + t + 1) * dim]
        for d in range(np.uint64(dim)):
            total[d] += row[d]
            slopes[d] = total[d]
    for d in range(np.uint64(dim)):
        total[d] = 0
    for t in range(rows):
        row, slopes, fading = (later[t * width : t * width + dim], d_log_decay[(token + t) * dim : (token + t + 1) * dim],
                               decay[t * width : t * width + dim])
        for d in range(np.uint64(dim)):
            slope = slopes[d] + total[d]
            slopes[d] = slope if fading[d] > 0 else 0.0
            total[d] += row[d]
