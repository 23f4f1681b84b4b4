"""Attention whose tokens reflect the queries, forward: a chunk of queries goes back over the keys, turned from step to step."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.rows.reflect_tiles import FAR, copy, forget, forget_near, keep_upper, plus, times
from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.online import exponentials
from tinyattn.kernels.tiles.product import product_add
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_rows, transpose_rows


@inlined
def meet_own(s, met, taken, square, z_t, k, w, at, taking, lower, square_at, chunk, width, micro):
    """Fills s [key][query] with the scores of a chunk with itself, met with triu(W Z^T) and taken with N met, both [token][query].

    S^T = K Z^T + L^T N met, of which those of later keys mean nothing; `square` is left with the panels of taken.
    """
    times(met, 0, w, at, width, 1, z_t, chunk, chunk, width, micro)
    keep_upper(met, chunk, 0)
    pack_rows(square, chunk, met, 0, chunk, chunk, s.dtype.type(1), micro)
    for x in range(chunk * chunk):
        taken[x] = 0
    plus(taken, 0, taking, square_at, chunk, 1, square, chunk, chunk, chunk, micro, 0, FAR)
    pack_rows(square, chunk, taken, 0, chunk, chunk, s.dtype.type(1), micro)
    times(s, 0, k, at, width, 1, z_t, chunk, chunk, width, micro)
    plus(s, 0, lower, square_at, 1, chunk, square, chunk, chunk, chunk, micro, 1, FAR)


@inlined
def leave_own(out, out_at, z, z_at, taken, w, at, panels, chunk, width, micro):
    """Fills out with the queries as they leave their own chunk, Z + (N met)^T W."""
    copy(out, out_at, z, z_at, chunk * width)
    pack_rows(panels, chunk, w, at, width, chunk, out.dtype.type(1), micro)
    plus(out, out_at, taken, 0, 1, chunk, panels, chunk, width, chunk, micro, -FAR, FAR)


@inlined
def add_values(s, n, own, query_at, key_at, logs, before, cleared, gated, chunk, value_width, micro, top, total, a, panels, spaces):
    """Turns a tile of scores into exponentials and adds their products with the values."""
    shift, kept, part, none, spare = spaces
    if n == own:
        forget_near(s, logs, cleared, query_at, chunk, gated)
    elif gated:
        forget(s, logs, before, cleared, key_at, query_at, chunk, part)
    exponentials(s, chunk, chunk, top, total, a, value_width, micro, n < own, shift, kept, part, none, spare)
    zero, above = np.intp(0), 0 if n == own else FAR
    product_add(a, zero, micro, chunk * micro, s, zero, 1, chunk, panels, chunk * micro, chunk, value_width, chunk, micro,
                np.intp(-FAR), np.intp(above))


@compiled
def reflect_forward(counter, sizes, factor, q, k, v, w, taking, lower, near, far, turns, far_turns, logs, before, cleared, out, tops,
                    totals):
    """Fills out (heads, blocks, chunk, value_width), and tops, totals (heads, blocks, chunk); a task is the queries of a chunk.

    Of each chunk before, S^T = K' Z^T and Z becomes Z T; before the `together` chunks that the queries stand in, so many chunks have
    one T. logs (heads, chunks, chunk) are the finite log gates, before (heads, chunks) their sums over all earlier chunks, and cleared
    the running counts of the other gates; they have no elements where there are no gates.
    """
    control, chunk, width, value_width, micro = (flush_small(), sizes.chunk, sizes.head_width, sizes.value_width, sizes.micro_columns)
    dtype, one, tile, square, turn = q.dtype, q.dtype.type(1), sizes.chunk * width, sizes.chunk * sizes.chunk, width * width
    s, met, taken, packed = np.empty(square, dtype), np.empty(square, dtype), np.empty(square, dtype), np.empty(square, dtype)
    z, turned, z_t, w_panels = np.empty(tile, dtype), np.empty(tile, dtype), np.empty(tile, dtype), np.empty(tile, dtype)
    a, panels = np.empty(chunk * value_width, dtype), np.empty(chunk * value_width, dtype)
    top, total = np.empty(chunk, dtype), np.empty(chunk)
    spaces = (np.empty(chunk, dtype), np.empty(chunk, dtype), np.empty(chunk, dtype), np.zeros(chunk, dtype), np.zeros(chunk, dtype))
    kept, gated, steps = spaces[1], logs.size > 0, (sizes.chunks + sizes.together - 1) // sizes.together
    while True:
        task = next_task(counter)
        if task >= sizes.heads * sizes.blocks:
            break
        head, block = task // sizes.blocks, sizes.blocks - 1 - task % sizes.blocks  # the longest go first
        own, place = sizes.chunks - sizes.blocks + block, head * sizes.blocks + block
        begin, kv_head, gates = own // sizes.together * sizes.together, head // sizes.groups, head * sizes.chunks * chunk
        for x in range(tile):
            z[x] = q[place * tile + x] * factor
        top[:], total[:], a[:] = -np.inf, 0, 0
        for n in range(own, -1, -1):
            there = kv_head * sizes.chunks + n
            if n >= begin - 1 or n % sizes.together == sizes.together - 1:
                transpose_rows(z_t, chunk, z, 0, width, chunk, one, sizes.lanes, micro)
            if n == own:
                meet_own(s, met, taken, packed, z_t, k, w, there * tile, taking, lower, there * square, chunk, width, micro)
            else:
                keys = near if n >= begin else far
                times(s, 0, keys, there * tile, width, 1, z_t, chunk, chunk, width, micro)
            pack_rows(panels, chunk, v, there * chunk * value_width, value_width, chunk, one, micro)
            add_values(s, n, own, gates + own * chunk, gates + n * chunk, logs, before, cleared, gated, chunk, value_width, micro, top,
                       total, a, panels, spaces)
            if n == 0 or (n < begin and n % sizes.together):
                continue
            if n == own:
                leave_own(turned, 0, z, 0, taken, w, there * tile, w_panels, chunk, width, micro)
            else:
                passed, turn_at = (turns, there * turn) if n >= begin else (far_turns, (kv_head * steps + n // sizes.together) * turn)
                times(turned, 0, z, 0, width, 1, passed[turn_at : turn_at + turn], chunk, width, width, micro)
            z, turned = turned, z
        for i in range(chunk):
            tops[place * chunk + i], totals[place * chunk + i] = top[i], total[i]
            kept[i] = 1 / total[i] if total[i] != 0 else 0.0
        put_rows(out, place * chunk * value_width, value_width, a, chunk, chunk, kept, micro)
    restore(control)
