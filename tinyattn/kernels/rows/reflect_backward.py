"""Attention whose tokens reflect the queries, backward: a chunk of queries goes back over the keys, and its gradient forth again."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.backward import dot
from tinyattn.kernels.rows.reflect_forward import leave_own, meet_own
from tinyattn.kernels.rows.reflect_tiles import FAR, add_gate_slopes, forget, forget_near, keep_upper, plus, times
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import column_exp, column_slope, pack_rows, scale_row, transpose_rows


@inlined
def score_slopes(s, d_s, v, v_at, d_v, d_v_at, given, shift, delta, spare, chunk, value_width, micro, above):
    """Turns scores into weights P, adds P^T dO to dV, and fills d_s with P (dP - delta); `given` are dO turned and dO in panels."""
    column_exp(s, chunk, chunk, shift, spare)
    plus(d_v, d_v_at, s, 0, chunk, 1, given[1], chunk, value_width, chunk, micro, -above, FAR)
    times(d_s, 0, v, v_at, value_width, 1, given[0], chunk, chunk, value_width, micro)
    column_slope(d_s, s, chunk, chunk, delta, spare)


@inlined
def pull_own(d_s, met, taken, spaces, z_panels, d_z, d_left, left_there, k, w, at, taking, lower, square_at, d_k, d_w, d_at,
             d_taking, d_lower, d_square_at, chunk, width, lanes, micro):
    """Adds to the gradients of a chunk what its own queries give, and to d_z; d_left is that of the queries as they leave it."""
    one, (square, d_met, rows, panels, d_taken) = d_s.dtype.type(1), spaces
    pack_rows(square, chunk, d_s, 0, chunk, chunk, one, micro)
    times(d_taken, 0, lower, square_at, chunk, 1, square, chunk, chunk, chunk, micro)
    transpose_rows(square, chunk, d_s, 0, chunk, chunk, one, lanes, micro)
    plus(d_lower, d_square_at, taken, 0, chunk, 1, square, chunk, chunk, chunk, micro, -FAR, FAR)
    plus(d_k, d_at, d_s, 0, chunk, 1, z_panels, chunk, width, chunk, micro, 0, FAR)
    pack_rows(panels, chunk, k, at, width, chunk, one, micro)
    plus(d_z, 0, d_s, 0, 1, chunk, panels, chunk, width, chunk, micro, -FAR, 0)
    if left_there:
        transpose_rows(rows, chunk, d_left, 0, width, chunk, one, lanes, micro)
        plus(d_taken, 0, w, at, width, 1, rows, chunk, chunk, width, micro, -FAR, FAR)
        pack_rows(panels, chunk, d_left, 0, width, chunk, one, micro)
        plus(d_w, d_at, taken, 0, chunk, 1, panels, chunk, width, chunk, micro, -FAR, FAR)
        for x in range(chunk * width):
            d_z[x] += d_left[x]
    transpose_rows(square, chunk, met, 0, chunk, chunk, one, lanes, micro)
    plus(d_taking, d_square_at, d_taken, 0, chunk, 1, square, chunk, chunk, chunk, micro, -FAR, FAR)
    pack_rows(square, chunk, d_taken, 0, chunk, chunk, one, micro)
    for x in range(chunk * chunk):
        d_met[x] = 0
    plus(d_met, 0, taking, square_at, 1, chunk, square, chunk, chunk, chunk, micro, -FAR, 0)
    keep_upper(d_met, chunk, 0)
    plus(d_w, d_at, d_met, 0, chunk, 1, z_panels, chunk, width, chunk, micro, 0, FAR)
    pack_rows(panels, chunk, w, at, width, chunk, one, micro)
    plus(d_z, 0, d_met, 0, 1, chunk, panels, chunk, width, chunk, micro, -FAR, 0)


@inlined
def pull_turn(d_z, d_left, left_there, turn_t, z, z_at, d_turn, d_turn_at, panels, chunk, width, micro):
    """Fills d_z with the gradient of the queries before Z T, and adds Z^T dZ' to that of T."""
    for x in range(chunk * width):
        d_z[x] = 0
    if left_there:
        plus(d_z, 0, d_left, 0, width, 1, turn_t, chunk, width, width, micro, -FAR, FAR)
        pack_rows(panels, chunk, d_left, 0, width, chunk, d_z.dtype.type(1), micro)
        plus(d_turn, d_turn_at, z, z_at, 1, width, panels, width, width, chunk, micro, -FAR, FAR)


@compiled
def reflect_backward(counter, splits, sizes, factor, q, k, v, w, taking, lower, near, far, turns, turns_t, far_turns, far_turns_t,
                     logs, before, cleared, out, tops, totals, d_out, d_q, d_k, d_v, d_w, d_taking, d_lower, d_near, d_far, d_turns,
                     d_far_turns, d_sums):
    """Fills d_q, and adds to the gradients of all that `reflections` made, of keys, values, w and the sums of gates.

    A task is a kv head and a split of its chunks of queries: it owns their d_q, and copies of all other gradients, which the caller
    sums. The queries of a chunk go back over the steps, and Z is kept before each; then step by step forth dS^T = P (dP - delta),
    dK' += dS^T Z, dT += Z^T dZ', and dZ = dZ' T^T + dS K'.
    """
    control, chunk, width, value_width, micro = (flush_small(), sizes.chunk, sizes.head_width, sizes.value_width, sizes.micro_columns)
    dtype, one, tile, square, turn = q.dtype, q.dtype.type(1), sizes.chunk * width, sizes.chunk * sizes.chunk, width * width
    steps = (sizes.chunks + sizes.together - 1) // sizes.together
    s, d_s, own_s, met, taken, packed = (np.empty(square, dtype), np.empty(square, dtype), np.empty(square, dtype),
                                         np.empty(square, dtype), np.empty(square, dtype), np.empty(square, dtype))
    kept = np.empty((min(sizes.together, sizes.chunks) + steps) * tile, dtype)
    z_t, z_panels, panels, d_z, d_left = (np.empty(tile, dtype), np.empty(tile, dtype), np.empty(tile, dtype), np.empty(tile, dtype),
                                          np.empty(tile, dtype))
    d_out_tile = np.empty(chunk * value_width, dtype)
    given = (np.empty(chunk * value_width, dtype), np.empty(chunk * value_width, dtype))
    spaces = (np.empty(square, dtype), np.empty(square, dtype), np.empty(tile, dtype), np.empty(tile, dtype), np.empty(square, dtype))
    shift, delta, row, spare = np.empty(chunk, dtype), np.empty(chunk, dtype), np.empty(chunk, dtype), np.zeros(chunk, dtype)
    gated, kv_heads, length = logs.size > 0, sizes.heads // sizes.groups, sizes.chunks * chunk
    while True:
        task = next_task(counter)
        if task >= kv_heads * splits:
            break
        kv_head, copy_of = task // splits, task % splits * kv_heads + task // splits
        for unit in range(sizes.groups * sizes.blocks):
            # Splits take the chunks in turn, forth and back, so that long and short ones are shared alike.
            turned = unit % (2 * splits)
            if min(turned, 2 * splits - 1 - turned) != task % splits:
                continue
            head, block = kv_head * sizes.groups + unit // sizes.blocks, sizes.blocks - 1 - unit % sizes.blocks
            own, place = sizes.chunks - sizes.blocks + block, head * sizes.blocks + block
            step = own // sizes.together
            begin, gates = step * sizes.together, head * length
            d_gates = task % splits * sizes.heads * length + gates
            for i in range(chunk):
                at = (place * chunk + i) * value_width
                weight = dtype.type(1 / totals[place * chunk + i] if totals[place * chunk + i] != 0 else 0.0)
                delta[i] = dot(d_out, at, out, at, value_width) * weight
                shift[i] = tops[place * chunk + i]
                for e in range(0, value_width, micro):
                    scale_row(d_out_tile, i * value_width + e, d_out, at + e, weight)
            transpose_rows(given[0], chunk, d_out_tile, 0, value_width, chunk, one, sizes.lanes, micro)
            pack_rows(given[1], chunk, d_out_tile, 0, value_width, chunk, one, micro)
            for x in range(tile):
                kept[x] = q[place * tile + x] * factor
            there = kv_head * sizes.chunks + own
            transpose_rows(z_t, chunk, kept, 0, width, chunk, one, sizes.lanes, micro)
            meet_own(own_s, met, taken, packed, z_t, k, w, there * tile, taking, lower, there * square, chunk, width, micro)
            stage = 0
            if own > 0:
                leave_own(kept, tile, kept, 0, taken, w, there * tile, panels, chunk, width, micro)
                stage = 1
            for n in range(own - 1, 0, -1):
                if n < begin and n % sizes.together:
                    continue
                passed, turn_at = (turns, (kv_head * sizes.chunks + n) * turn) if n >= begin else (
                    far_turns, (kv_head * steps + n // sizes.together) * turn)
                times(kept, (stage + 1) * tile, kept, stage * tile, width, 1, passed[turn_at : turn_at + turn], chunk, width, width,
                      micro)
                stage += 1
            left_there = False
            for n in range(own + 1):
                there, here = kv_head * sizes.chunks + n, copy_of * sizes.chunks + n
                v_at, d_v_at = there * chunk * value_width, here * chunk * value_width
                if n >= begin or n % sizes.together == 0:
                    d_z, d_left = d_left, d_z
                    if n == own:
                        for x in range(tile):
                            d_z[x] = 0
                    else:
                        passed, d_passed, turn_at, d_turn_at = (turns_t, d_turns, there * turn, here * turn) if n >= begin else (
                            far_turns_t, d_far_turns, (kv_head * steps + n // sizes.together) * turn,
                            (copy_of * steps + n // sizes.together) * turn)
                        pull_turn(d_z, d_left, left_there, passed[turn_at : turn_at + turn], kept, stage * tile, d_passed, d_turn_at,
                                  panels, chunk, width, micro)
                    transpose_rows(z_t, chunk, kept, stage * tile, width, chunk, one, sizes.lanes, micro)
                    pack_rows(z_panels, chunk, kept, stage * tile, width, chunk, one, micro)
                    stage -= 1
                keys, d_keys = (near, d_near) if n >= begin else (far, d_far)
                if n == own:
                    forget_near(own_s, logs, cleared, gates + own * chunk, chunk, gated)
                else:
                    times(s, 0, keys, there * tile, width, 1, z_t, chunk, chunk, width, micro)
                    if gated:
                        forget(s, logs, before, cleared, gates + n * chunk, gates + own * chunk, chunk, row)
                scores, above = (own_s, 0) if n == own else (s, FAR)
                score_slopes(scores, d_s, v, v_at, d_v, d_v_at, given, shift, delta, spare, chunk, value_width, micro, above)
                if n == own:
                    pull_own(d_s, met, taken, spaces, z_panels, d_z, d_left, left_there, k, w, there * tile, taking, lower,
                             there * square, d_k, d_w, here * tile, d_taking, d_lower, here * square, chunk, width, sizes.lanes, micro)
                else:
                    plus(d_keys, here * tile, d_s, 0, chunk, 1, z_panels, chunk, width, chunk, micro, -FAR, FAR)
                    pack_rows(panels, chunk, keys, there * tile, width, chunk, one, micro)
                    plus(d_z, 0, d_s, 0, 1, chunk, panels, chunk, width, chunk, micro, -FAR, FAR)
                if gated:
                    add_gate_slopes(d_s, d_sums, d_gates + n * chunk, d_gates + own * chunk, chunk, row)
                left_there = True
            for x in range(tile):
                d_q[place * tile + x] = d_z[x] * factor
    restore(control)
