"""A state that each query reads before its token is written, one token at a time: for decoding, and where a number is not finite."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.states.rows import dot_of_three
from tinyattn.kernels.states.step import add_row, recall, write
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.storage import Sizes
from tinyattn.kernels.tiles.threads import next_task


@compiled
def before_step(counter, numbers, scale, q, k, v, decay, bonus, initial, out, last):
    """Fills what `channel_forward` fills with a bonus, token by token; a task is one kv head.

    `numbers` are those of the sizes; arrays are whole and flat. The queries of a group read two by two.
    """
    sizes, factor = Sizes(*numbers), q.dtype.type(scale)
    dim, columns, micro = sizes.head_dim, sizes.value_dim, sizes.micro_columns
    groups, first, spare = sizes.heads // max(sizes.kv_heads, 1), sizes.kv_len - sizes.q_len, np.zeros(columns, q.dtype)
    while True:
        head = next_task(counter)
        if head >= sizes.batch * sizes.kv_heads:
            break
        at, own = head * dim * columns, head % sizes.kv_heads * dim
        if sizes.kv_len == 0:
            for x in range(at, at + dim * columns):  # an assignment to a slice compiles the text of its error
                last[x] = initial[x]
        for t in range(sizes.kv_len):
            token, before = head * sizes.kv_len + t, initial if t == 0 else last
            for group in range(0, groups if t >= first else 0, 2):
                line, more = (head * groups + group) * sizes.q_len + t - first, group + 1 < groups
                other = line + sizes.q_len if more else line
                recall(out, line * columns, out if more else spare, other * columns if more else 0, before, at, q, line * dim, q,
                       other * dim, dim, columns, micro)
                for row in range(line, other + 1, sizes.q_len):
                    weight = factor * dot_of_three(q, row * dim, bonus, own, k, token * dim, dim)
                    add_row(out, row * columns, factor, v, token * columns, weight, columns)
            write(last, before, at, v, token * columns, k, token * dim, decay, token * dim, 1, dim, columns, micro)
