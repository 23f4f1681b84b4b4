"""States of levels one token at a time: for a few tokens, and where chunks would spread what is not finite."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.level_tree import any_number, closed_at
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.threads import next_task


@compiled
def level_step(counter, sizes, scale, seen, depth, q, k, v, decay, scales, levels, initial, olds, out, last):
    """Fills what `level_forward` fills, as the formula says: S_l decays, S_0 is the token, and out reads all of them."""
    number = q.dtype.type
    batch, heads, kv_heads, q_len, kv_len, dim, width = sizes
    size, groups, first = dim * width, heads // max(kv_heads, 1), kv_len - q_len
    states, total, held = np.zeros(depth * size, q.dtype), np.zeros(width, q.dtype), np.zeros(depth, np.bool_)
    while True:
        head = next_task(counter)
        if head >= batch * kv_heads:
            break
        for level in range(depth):
            held[level] = level < olds and any_number(initial, (head * olds + level) * size, size)
            for x in range(size):
                states[level * size + x] = initial[(head * olds + level) * size + x] if held[level] else number(0)
        for t in range(kv_len):
            token = head * kv_len + t
            closed = closed_at(seen + t) if seen + t else 0
            for level in range(closed):
                for x in range(size if held[level] else 0):
                    states[closed * size + x] += states[level * size + x]
                    states[level * size + x] = 0
                held[closed], held[level] = held[closed] or held[level], False
            held[0] = True
            for d in range(dim):
                for e in range(width):
                    states[d * width + e] = k[token * dim + d] * v[token * width + e]
            factor = number(decay[token])
            for level in range(1, depth):
                for x in range(level * size, (level + 1) * size if held[level] else 0):
                    states[x] *= factor
            for group in range(groups if t >= first else 0):
                at = (head * groups + group) * q_len + t - first
                for e in range(width):
                    total[e] = 0
                for level in range(depth):
                    share = number(scale) * scales[token * levels + level]
                    for d in range(dim if held[level] else 0):
                        asked, row = share * q[at * dim + d], states[level * size + d * width : level * size + (d + 1) * width]
                        for e in range(width):
                            total[e] += asked * row[e]
                for e in range(width):
                    out[at * width + e] = total[e]
        for x in range(depth * size if last.size else 0):
            last[head * depth * size + x] = states[x]
