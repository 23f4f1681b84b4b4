"""A state of which each token reads, one token at a time: for decoding, and for chunks in which a number is not finite."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.features import NONE
from tinyattn.kernels.states.step import fold, fold_and_answer, recall
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.storage import Sizes
from tinyattn.kernels.tiles.threads import next_task


@compiled
def reading_step(counter, numbers, scale, q, k, v, decay, read, write, initial, out, last, written):
    """Fills what `reading` fills, token by token, with decays in the place of their logarithms; a task is one kv head.

    `numbers` are those of the sizes; arrays are whole and flat.
    """
    sizes, number = Sizes(*numbers), q.dtype.type
    size, dim, micro = sizes.head_dim * sizes.value_dim, sizes.head_dim, sizes.micro_columns
    added, stored, factor = np.zeros(sizes.value_dim, q.dtype), np.zeros(sizes.value_dim, q.dtype), number(scale)
    unity, tied, query = np.ones(1, q.dtype), write.size == 0, np.zeros(sizes.head_width, q.dtype)
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
            place, value = token * dim, token * sizes.value_dim
            recall(stored, before, at, read, place, unity, 0, 0, dim, sizes.value_dim, micro)
            for e in range(sizes.value_dim):
                added[e] = v[value + e] + stored[e] if tied else v[value + e]
                written[value + e] = added[e] if tied else stored[e]
            fading, fading_at, fading_step, old = decay, place, 1, before
            if not tied:
                fold(last, before, at, stored, write, place, decay, place, 1, dim, sizes.value_dim)
                fading, fading_at, fading_step, old = unity, 0, 0, last
            fold_and_answer(last, old, at, added, k, place, fading, fading_at, fading_step, q, head, t, query, NONE, unity, out,
                            stored, factor, unity, dim, sizes)
