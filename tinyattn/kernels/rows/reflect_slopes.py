"""The gradient of what the tokens of a chunk do to the queries after it."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.rows.reflect_tiles import FAR, copy, keep_upper, plus, times
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, transpose_rows


@inlined
def pull_square(w, at, beta, beta_at, inverse, taking, square_at, d_taking, d_beta, w_t, u, x, d_m, square, chunk, width, lanes,
                micro):
    """Adds to d_beta, and fills x with the gradient of W W^T and its turned one, by that of N = -M^-1 D, M = I + D U.

    With X = M^-T dN, dM = -X N^T, and dD = -diag(X) + the sums of the rows of dM U.
    """
    one = w.dtype.type(1)
    times(u, 0, w, at, width, 1, w_t, chunk, chunk, width, micro)
    pack_rows(square, chunk, d_taking, square_at, chunk, chunk, one, micro)
    times(x, 0, inverse, square_at, 1, chunk, square, chunk, chunk, chunk, micro)
    transpose_rows(square, chunk, taking, square_at, chunk, chunk, one, lanes, micro)
    times(d_m, 0, x, 0, chunk, 1, square, chunk, chunk, chunk, micro)
    for r in range(chunk):
        total = -x[r * chunk + r]
        for c in range(r + 1, chunk):
            total -= d_m[r * chunk + c] * u[r * chunk + c]
        d_beta[beta_at + r] += total
    for r in range(chunk):
        x[r * chunk + r] = 0
        for c in range(r + 1, chunk):
            slope = -d_m[r * chunk + c] * beta[beta_at + r]
            x[r * chunk + c] = slope
            x[c * chunk + r] = slope


@compiled
def reflection_slopes(counter, sizes, k, w, beta, inverse, taking, lower, near, turns_t, passes, d_k, d_w, d_beta, d_taking, d_lower,
                      d_near, d_far, d_turns, d_far_turns):
    """Adds to d_k, d_w and d_beta the gradients of all that `reflections` made; d_taking, d_lower, d_near, d_turns are written over.

    A task is `together` chunks. Of far = K' R^T and the next R' = R T: dK' += dK'' R, dT += R^T dR', dR = dR' T^T + dK''^T K'; then of
    K' = K + L^T N W, T = I + (N W)^T W, and L = tril(W K^T, -1).
    """
    control, chunk, width, micro, one = flush_small(), sizes.chunk, sizes.head_width, sizes.micro_columns, k.dtype.type(1)
    dtype, tile, square, turn = k.dtype, chunk * width, chunk * chunk, width * width
    w_t, w_panels, panels, solved, d_solved = (np.empty(tile, dtype), np.empty(tile, dtype), np.empty(tile, dtype),
                                               np.empty(tile, dtype), np.empty(tile, dtype))
    u, x_square, d_m, packed = np.empty(square, dtype), np.empty(square, dtype), np.empty(square, dtype), np.empty(square, dtype)
    d_r, next_d_r, wide = np.empty(turn, dtype), np.empty(turn, dtype), np.empty(turn, dtype)
    steps = (sizes.chunks + sizes.together - 1) // sizes.together
    while True:
        task = next_task(counter)
        if task >= sizes.heads // sizes.groups * steps:
            break
        head, step = task // steps, task % steps
        copy(d_r, 0, d_far_turns, task * turn, turn)
        for n in range(step * sizes.together, min((step + 1) * sizes.together, sizes.chunks)):
            there = head * sizes.chunks + n
            at, square_at, turn_at = there * tile, there * square, there * turn
            pack_rows(wide, width, passes, turn_at, width, width, one, micro)
            plus(d_near, at, d_far, at, width, 1, wide, chunk, width, width, micro, -FAR, FAR)
            pack_rows(wide, width, d_r, 0, width, width, one, micro)
            plus(d_turns, turn_at, passes, turn_at, 1, width, wide, width, width, width, micro, -FAR, FAR)
            times(next_d_r, 0, d_r, 0, width, 1, turns_t[turn_at : turn_at + turn], width, width, width, micro)
            pack_rows(panels, chunk, near, at, width, chunk, one, micro)
            plus(next_d_r, 0, d_far, at, 1, width, panels, width, width, chunk, micro, -FAR, FAR)
            d_r, next_d_r = next_d_r, d_r

            pack_rows(w_panels, chunk, w, at, width, chunk, one, micro)
            transpose_rows(w_t, chunk, w, at, width, chunk, one, sizes.lanes, micro)
            for x in range(tile):
                solved[x] = 0
            plus(solved, 0, taking, square_at, chunk, 1, w_panels, chunk, width, chunk, micro, 0, FAR)
            transpose_rows(wide, width, d_turns, turn_at, width, width, one, sizes.lanes, micro)
            times(d_solved, 0, w, at, width, 1, wide, chunk, width, width, micro)
            pack_rows(wide, width, d_turns, turn_at, width, width, one, micro)
            plus(d_w, at, solved, 0, width, 1, wide, chunk, width, width, micro, -FAR, FAR)
            transpose_rows(panels, chunk, d_near, at, width, chunk, one, sizes.lanes, micro)
            plus(d_lower, square_at, solved, 0, width, 1, panels, chunk, chunk, width, micro, -FAR, FAR)
            for token in range(chunk):
                for j in range(token, chunk):
                    d_lower[square_at + token * chunk + j] = 0
            pack_rows(panels, chunk, d_near, at, width, chunk, one, micro)
            plus(d_solved, 0, lower, square_at, chunk, 1, panels, chunk, width, chunk, micro, -FAR, 0)
            plus(d_taking, square_at, d_solved, 0, width, 1, w_t, chunk, chunk, width, micro, -FAR, FAR)
            keep_upper(d_taking[square_at : square_at + square], chunk, 0)
            pack_rows(panels, chunk, d_solved, 0, width, chunk, one, micro)
            plus(d_w, at, taking, square_at, 1, chunk, panels, chunk, width, chunk, micro, -FAR, 0)
            pack_rows(panels, chunk, k, at, width, chunk, one, micro)
            plus(d_w, at, d_lower, square_at, chunk, 1, panels, chunk, width, chunk, micro, -FAR, 0)
            for x in range(tile):
                d_k[at + x] += d_near[at + x]
            plus(d_k, at, d_lower, square_at, 1, chunk, w_panels, chunk, width, chunk, micro, 0, FAR)
            pull_square(w, at, beta, there * chunk, inverse, taking, square_at, d_taking, d_beta, w_t, u, x_square, d_m, packed, chunk,
                        width, sizes.lanes, micro)
            plus(d_w, at, x_square, 0, chunk, 1, w_panels, chunk, width, chunk, micro, -FAR, FAR)
    restore(control)
