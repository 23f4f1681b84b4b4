"""What the tokens of a chunk do to the queries after it: a triangular system per chunk (the UT transform), and products of chunks."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.rows.reflect_tiles import FAR, copy, keep_upper, plus, times
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_add
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, transpose_rows

# Rows of a triangle that are solved between two products.
STEP = 8


@inlined
def invert(u, inverse, size, micro):
    """Fills panels with the inverse of I - u, u strictly upper: the last rows first, so that later tokens change no earlier row."""
    panel = size * micro
    for x in range(size * size):
        inverse[x] = 0
    for r in range(size):
        inverse[r // micro * panel + r * micro + r % micro] = 1
    for start in range(size - STEP, -1, -STEP):
        after = start + STEP
        if after < size:
            product_add(inverse, start * micro, micro, panel, u, start * size + after, size, 1, inverse[after * micro :], panel,
                        np.intp(STEP), size, size - after, micro, np.intp(-FAR), np.intp(FAR))
        for r in range(after - 2, start - 1, -1):
            for c in range(r + 1, after):
                factor = u[r * size + c]
                for part in range(start // micro * panel, size * size, panel):
                    into, out_of = np.uintp(part + r * micro), np.uintp(part + c * micro)
                    for x in range(np.uintp(micro)):
                        inverse[into + x] += factor * inverse[out_of + x]


@inlined
def solve(w, w_at, beta, beta_at, w_t, u, panels, inverse, taking, square_at, chunk, width, micro):
    """Fills one square of inverse with M^-1, M = I + D triu(W W^T, 1), and one of taking with -M^-1 D; u with -D triu(W W^T, 1)."""
    times(u, 0, w, w_at, width, 1, w_t, chunk, chunk, width, micro)
    keep_upper(u, chunk, 1)
    for r in range(chunk):
        factor, into = -beta[beta_at + r], np.uintp(r * chunk)
        for c in range(np.uintp(chunk)):
            u[into + c] *= factor
    invert(u, panels, chunk, micro)
    for r in range(chunk):
        for start in range(0, chunk, micro):
            out_of, into, of_beta = (np.uintp(start * chunk + r * micro), np.uintp(square_at + r * chunk + start),
                                     np.uintp(beta_at + start))
            for c in range(np.uintp(micro)):
                x = panels[out_of + c]
                inverse[into + c] = x
                taking[into + c] = -x * beta[of_beta + c]


@compiled
def reflections(counter, sizes, k, w, beta, inverse, taking, lower, near, far, turns, turns_t, passes, far_turns, far_turns_t):
    """Fills what the chunks of all kv heads do to queries; a task is `together` chunks.

    inverse = M^-1, taking N = -M^-1 D and lower L = tril(W K^T, -1) are (kv_heads, chunks, chunk, chunk). Queries after the chunk meet
    its keys as near K' = K + L^T N W, and pass it as Z T, turns T = I + (N W)^T W in panels, turns_t those of T^T. Queries after the
    whole task meet its keys as far K' R^T, with passes R the product of the T after the chunk, last first, and pass it by far_turns.
    """
    control, chunk, width, micro, one = flush_small(), sizes.chunk, sizes.head_width, sizes.micro_columns, k.dtype.type(1)
    dtype, tile, square, turn = k.dtype, chunk * width, chunk * chunk, width * width
    w_t, w_panels, k_t, panels = np.empty(tile, dtype), np.empty(tile, dtype), np.empty(tile, dtype), np.empty(square, dtype)
    u, solved, t, r, next_r, packed = (np.empty(square, dtype), np.empty(tile, dtype), np.empty(turn, dtype), np.empty(turn, dtype),
                                       np.empty(turn, dtype), np.empty(turn, dtype))
    steps = (sizes.chunks + sizes.together - 1) // sizes.together
    while True:
        task = next_task(counter)
        if task >= sizes.heads // sizes.groups * steps:
            break
        head, step = task // steps, task % steps
        stop = min((step + 1) * sizes.together, sizes.chunks)
        for x in range(turn):
            r[x] = 0
        for x in range(width):
            r[x * width + x] = 1
        for n in range(stop - 1, step * sizes.together - 1, -1):
            there = head * sizes.chunks + n
            at, square_at, turn_at = there * tile, there * square, there * turn
            transpose_rows(w_t, chunk, w, at, width, chunk, one, sizes.lanes, micro)
            pack_rows(w_panels, chunk, w, at, width, chunk, one, micro)
            transpose_rows(k_t, chunk, k, at, width, chunk, one, sizes.lanes, micro)
            solve(w, at, beta, there * chunk, w_t, u, panels, inverse, taking, square_at, chunk, width, micro)
            times(lower, square_at, w, at, width, 1, k_t, chunk, chunk, width, micro)
            for token in range(chunk):
                for j in range(token, chunk):
                    lower[square_at + token * chunk + j] = 0
            for x in range(tile):
                solved[x] = 0
            plus(solved, 0, taking, square_at, chunk, 1, w_panels, chunk, width, chunk, micro, 0, FAR)
            for x in range(turn):
                t[x] = 0
            for x in range(width):
                t[x * width + x] = 1
            plus(t, 0, solved, 0, 1, width, w_panels, width, width, chunk, micro, -FAR, FAR)
            pack_rows(turns[turn_at : turn_at + turn], width, t, 0, width, width, one, micro)
            transpose_rows(turns_t[turn_at : turn_at + turn], width, t, 0, width, width, one, sizes.lanes, micro)
            pack_rows(w_panels, chunk, solved, 0, width, chunk, one, micro)
            copy(near, at, k, at, tile)
            plus(near, at, lower, square_at, 1, chunk, w_panels, chunk, width, chunk, micro, 1, FAR)
            copy(passes, turn_at, r, 0, turn)
            if n == stop - 1:
                copy(far, at, near, at, tile)
                copy(r, 0, t, 0, turn)
                continue
            transpose_rows(packed, width, r, 0, width, width, one, sizes.lanes, micro)
            times(far, at, near, at, width, 1, packed, chunk, width, width, micro)
            times(next_r, 0, r, 0, width, 1, turns[turn_at : turn_at + turn], width, width, width, micro)
            r, next_r = next_r, r
        turn_at = task * turn
        pack_rows(far_turns[turn_at : turn_at + turn], width, r, 0, width, width, one, micro)
        transpose_rows(far_turns_t[turn_at : turn_at + turn], width, r, 0, width, width, one, sizes.lanes, micro)
    restore(control)
