"""A state of which each token reads, one token at a time: for decoding, and for chunks in which a number is not finite."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.step import fold, fold_and_answer, recall
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.threads import next_task


@compiled
def reading_step(counter, sizes, scale, q, q_at, q_step, k, k_at, k_step, v, v_at, v_step, decay, read, write, initial, out, last,
                 written):
    """Fills what `reading` fills, token by token, with decays in the place of their logarithms; a task is one kv head."""
    number = q.dtype.type
    size = sizes.head_dim * sizes.value_dim
    added, stored, factor = np.zeros(sizes.value_dim, q.dtype), np.zeros(sizes.value_dim, q.dtype), number(scale)
    unity, tied = np.ones(1, q.dtype), write.size == 0
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        at = head * size
        if sizes.kv_len == 0:
            last[at : at + size] = initial[at : at + size]
        for t in range(sizes.kv_len):
            token, before = head * sizes.kv_len + t, initial if t == 0 else last
            place, key, value = token * sizes.head_dim, k_at[head] + t * k_step, v_at[head] + t * v_step
            recall(stored, before, at, read, place, unity, 0, 0, sizes.head_dim, sizes.value_dim)
            for e in range(sizes.value_dim):
                added[e] = v[value + e] + stored[e] if tied else v[value + e]
                written[token * sizes.value_dim + e] = added[e] if tied else stored[e]
            fading, fading_at, fading_step, old = decay, place, 1, before
            if not tied:
                fold(last, before, at, stored, write, place, decay, place, 1, sizes.head_dim, sizes.value_dim)
                fading, fading_at, fading_step, old = unity, 0, 0, last
            fold_and_answer(last, old, at, added, k, key, fading, fading_at, fading_step, q, q_at, q_step, head, t, out, stored,
                            factor, unity, sizes)
