"""Decoding through block tables: keys and values read in the pages where they lie."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.decode import all_finite, take_shown, weigh
from tinyattn.kernels.tiles.dots import KEYS, LINES, dots, prefetch
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.product import product_add_few
from tinyattn.kernels.tiles.threads import next_task


@compiled
def decode_paged(counter, chunks, blocks, size, tables, lengths, sizes, rules, mask, mask_at, bias, bias_at, distance,
                 rule, values, starts, steps, constants, q, k, v, part, part_top, part_total):
    """Fills the partial results of every chunk of `blocks` pages, as `decode` does of keys that lie side by side.

    k [page][kv head][token][head_dim], v the same; `tables` [row][block] says where a row's pages are, `lengths` how many
    tokens it has. What stands after them in its last page never enters a result.
    """
    width, value_dim, head_dim = sizes.q_tile, sizes.value_dim, sizes.head_dim
    lines = sizes.heads // sizes.kv_heads * sizes.q_len
    s = np.zeros(blocks * size * width, q.dtype)
    parameters_at, places = np.empty(steps.size // 2, np.int64), np.zeros(width + s.size // width, q.dtype)
    a, shift, spare = np.empty(width * value_dim, q.dtype), np.empty(3 * width, q.dtype), np.zeros(width, q.dtype)
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.kv_heads * chunks:
            break
        kv_head, row, head = task // chunks, task // chunks // sizes.kv_heads, task // chunks % sizes.kv_heads
        first = lengths[row] - sizes.q_len
        # Keys before every query's window are not read, whatever they hold; their pages may be shared or gone.
        block = max(task % chunks * blocks, (first - rules.left) // size)
        j0 = block * size
        keys = max(0, min(lengths[row], (task % chunks + 1) * blocks * size) - j0)
        hidden = max(0, first - rules.left - j0)
        for x in range(width * value_dim):
            a[x] = 0
        table = row * (tables.size // lengths.size) + block
        for j in range(0, keys, size):
            at = (tables[table + j // size] * sizes.kv_heads + head) * size * head_dim
            after = (tables[table + min(j // size + 1, (keys - 1) // size)] * sizes.kv_heads + head) * size * head_dim
            for x in range(0, min(size, keys - j), KEYS):
                for y in range(x * head_dim, (x + KEYS) * head_dim, sizes.lanes):
                    prefetch(k, after + y)
                for line in range(0, lines, LINES):
                    dots(s, (j + x) * width + line, width, q, (kv_head * width + line) * head_dim, head_dim, k, at + x * head_dim,
                         head_dim, head_dim)
        weigh(s, j0, keys, first, lines, kv_head, task, sizes, rules, mask, mask_at, bias, bias_at, distance,
              rule, values, starts, steps, constants, parameters_at, places, shift, spare, part_top, part_total)
        for j in range(0, keys, size):
            at = (tables[table + j // size] * sizes.kv_heads + head) * size * value_dim
            begin = min(size, max(0, hidden - j))
            product_add_few(a, 0, value_dim, s, (j + begin) * width, 1, width, v, at + begin * value_dim, value_dim, lines, value_dim,
                            min(size, keys - j) - begin, sizes.micro_columns)
        if rules.masked and not all_finite(a, lines * value_dim):
            tile = np.zeros(size * value_dim, q.dtype)
            for x in range(width * value_dim):
                a[x] = 0
            for j in range(0, keys, size):
                at = (tables[table + j // size] * sizes.kv_heads + head) * size * value_dim
                begin = min(size, max(0, hidden - j))
                count = min(size, keys - j) - begin
                take_shown(tile, v, at + begin * value_dim, value_dim, value_dim, j0 + j + begin, count, first, lines, kv_head,
                           sizes, rules, mask, mask_at)
                product_add_few(a, 0, value_dim, s, (j + begin) * width, 1, width, tile, 0, value_dim, lines, value_dim, count,
                                sizes.micro_columns)
        for x in range(lines * value_dim):
            part[task * lines * value_dim + x] = a[x]
