"""Ridge regressions of every token on all tokens so far, solved for as many tokens at a time as a register has lanes.

The queries of a head are cut into segments, one per lane, which walk through their tokens side by side: each updates its sum of
k k^T by one token, factorises it and solves. The sums before the segments come from products of chunks.
"""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.cholesky import SIDE, factorise, panel_of, substitute
from tinyattn.kernels.states.fading import fill_fading
from tinyattn.kernels.states.forward import write
from tinyattn.kernels.states.rows import load_rows, load_state, store_rows
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, turn_block


@inlined
def place_of(row, column, count):
    """Returns where an entry of a lower triangle stands."""
    return panel_of(row, count) + (column * SIDE + row % SIDE) * count


@inlined
def fold_keys(state, keys, faded, x, since, until, between, running, k, at, k_step, decay, beta, token, start, stop, sizes):
    """Folds beta k k^T of the tokens from `start` to `stop` into the state; the head's rows begin at `at`, its gates at `token`."""
    width, micro, one = sizes.head_width, sizes.micro_columns, keys.dtype.type(1)
    while start < stop:
        rows = min(sizes.kv_tile, stop - start)
        load_rows(keys, width, sizes.kv_tile, k, at + start * k_step, k_step, rows, sizes.head_dim, one, micro)
        pack_rows(x, sizes.kv_tile, keys, 0, width, rows, one, micro)
        fill_fading(since, until, between, decay, token + start, rows, sizes.kv_tile, running)
        for i in range(rows):
            until[i] *= beta[token + start + i]
        write(state, keys, faded, until, since[rows - 1], True, x, rows, sizes)
        start += rows


@inlined
def to_lanes(vectors, at, tile, width, count):
    """Fills vectors [row][lane] with the rows [lane][width] of a tile."""
    for c in range(0, width, count):
        turn_block(vectors, at + c * count, count, tile, c, width, tile.dtype.type(1), count)


@inlined
def from_lanes(tile, vectors, at, width, count):
    """Fills the rows [lane][width] of a tile with vectors [row][lane]."""
    for c in range(0, width, count):
        turn_block(tile, c, width, vectors, at + c * count, count, tile.dtype.type(1), count)


@inlined
def put_triangle(matrix, lane, state, sizes):
    """Fills a lane of the matrices with the lower triangle of a state."""
    width, micro = sizes.head_width, sizes.micro_columns
    for i in range(sizes.head_dim):
        for j in range(i + 1):
            matrix[place_of(i, j, sizes.lanes) + lane] = state[j // micro * width * micro + i * micro + j % micro]


@inlined
def take_triangle(target, at, matrix, lane, sizes):
    """Fills a symmetric matrix [head_dim][head_dim] with a lane of the matrices."""
    for i in range(sizes.head_dim):
        for j in range(i + 1):
            held = matrix[place_of(i, j, sizes.lanes) + lane]
            target[at + i * sizes.head_dim + j] = held
            target[at + j * sizes.head_dim + i] = held


@compiled
def regressions(counter, sizes, segments, q, q_at, q_step, k, k_at, k_step, decay, beta, ridge, initial, out, last, least):
    """Fills out, as q, with (H_t + diag(ridge))^-1 q_t, and last (batch, kv_heads, d, d) with H after the last token.

    H_t = decay_t H_{t-1} + beta_t k_t k_t^T from the symmetric initial H on; ridge (kv_heads, d). A task is as many segments as there
    are lanes; `least` (tasks lanes) gets the least number of which a root was taken: a solution is right where it is above 0.
    """
    number, count, width, micro = q.dtype.type, sizes.lanes, sizes.head_width, sizes.micro_columns
    one, dim, chunk = number(1), -(-sizes.head_dim // SIDE) * SIDE, sizes.kv_tile
    groups, first = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len
    triangle, vector = panel_of(dim, count), width * count
    # Registers that begin where a line of the cache begins are read in 0.87 of the time.
    memory = np.zeros(2 * triangle + (4 + groups) * vector + 3 * count, q.dtype)
    place = -(memory.ctypes.data // q.itemsize) % count
    matrix, factor = memory[place : place + triangle], memory[place + triangle : place + 2 * triangle]
    place += 2 * triangle
    keys, weighed = memory[place : place + vector], memory[place + vector : place + 2 * vector]
    inverse, damped = memory[place + 2 * vector : place + 3 * vector], memory[place + 3 * vector : place + 4 * vector]
    place += 4 * vector
    x, fading = memory[place : place + groups * vector], memory[place + groups * vector : place + groups * vector + count]
    place += groups * vector + count
    lowest, strength, tile = memory[place : place + count], np.zeros(count, q.dtype), np.zeros(vector, q.dtype)
    state, told, faded, packed = (np.zeros(width * width, q.dtype), np.zeros(chunk * width, q.dtype), np.zeros(chunk * width, q.dtype),
                                  np.zeros(chunk * width, q.dtype))
    since, until, running = np.ones(chunk, q.dtype), np.ones(chunk, q.dtype), np.ones(chunk)
    between = np.ones(chunk * chunk, q.dtype)
    heads, starts, stops = np.zeros(count, np.intp), np.zeros(count, np.intp), np.zeros(count, np.intp)
    streams = sizes.batch * sizes.kv_heads * segments
    while True:
        task = next_task(counter)
        if task * count >= streams:
            break
        matrix[:], damped[:], lowest[:], starts[:], stops[:] = 0, 1, np.inf, 0, 0
        before, token = -1, 0
        for lane in range(min(count, streams - task * count)):
            head, segment = divmod(task * count + lane, segments)
            if head != before:
                load_state(state, width, initial, head * sizes.head_dim * sizes.head_dim, sizes.head_dim, sizes.head_dim, micro)
                before, token = head, 0
            heads[lane], starts[lane] = head, first + segment * sizes.q_len // segments
            stops[lane] = first + (segment + 1) * sizes.q_len // segments
            fold_keys(state, told, faded, packed, since, until, between, running, k, k_at[head], k_step, decay, beta,
                      head * sizes.kv_len, token, starts[lane], sizes)
            token = starts[lane]
            put_triangle(matrix, lane, state, sizes)
            for d in range(sizes.head_dim):
                damped[d * count + lane] = ridge[head % sizes.kv_heads * sizes.head_dim + d]
        for step in range(-(-sizes.q_len // segments)):
            for lane in range(count):
                at, there = starts[lane] + step, int(starts[lane] + step < stops[lane])
                load_rows(tile[lane * width : (lane + 1) * width], width, 1, k, k_at[heads[lane]] + at * k_step, k_step, there,
                          sizes.head_dim, one, micro)
                fading[lane] = decay[heads[lane] * sizes.kv_len + at] if there else 1
                strength[lane] = beta[heads[lane] * sizes.kv_len + at] if there else 0
            to_lanes(keys, 0, tile, width, count)
            for c in range(0, vector, count):
                for lane in range(count):
                    weighed[c + lane] = strength[lane] * keys[c + lane]
            factorise(factor, matrix, fading, weighed, keys, inverse, damped, lowest, dim, count)
            for group in range(groups):
                for lane in range(count):
                    at, there = starts[lane] + step, int(starts[lane] + step < stops[lane])
                    load_rows(tile[lane * width : (lane + 1) * width], width, 1, q,
                              q_at[heads[lane] * groups + group] + (at - first) * q_step, q_step, there, sizes.head_dim, one, micro)
                to_lanes(x, group * vector, tile, width, count)
                substitute(x, group * vector, factor, inverse, dim, count)
                from_lanes(tile, x, group * vector, width, count)
                for lane in range(count):
                    at, there = starts[lane] + step, int(starts[lane] + step < stops[lane])
                    store_rows(out, ((heads[lane] * groups + group) * sizes.q_len + at - first) * sizes.head_dim,
                               tile[lane * width : (lane + 1) * width], width, there, sizes.head_dim, one, micro)
        for lane in range(min(count, streams - task * count)):
            if (task * count + lane) % segments == segments - 1:
                take_triangle(last, heads[lane] * sizes.head_dim * sizes.head_dim, matrix, lane, sizes)
        for lane in range(count):
            least[task * count + lane] = lowest[lane]
