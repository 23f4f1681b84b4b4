"""Exact attention whose queries are turned from one chunk of keys to the chunk before: causal, chunk by chunk, the last one first."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tinyattn.kernels.tiles.flush import flush_small, restore
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.online import exponentials
from tinyattn.kernels.tiles.product import product_add, product_set
from tinyattn.kernels.tiles.threads import next_task
from tinyattn.kernels.tiles.vector import pack_rows, put_rows, transpose_rows


class Turns(NamedTuple):
    """The sizes of a call: all heads of all sequences, heads that share a kv head, chunks of keys, and those that hold queries."""

    heads: int
    groups: int
    chunks: int
    blocks: int
    chunk: int
    head_dim: int
    head_width: int
    value_width: int
    micro_columns: int
    lanes: int


@compiled
def turning(counter, sizes, near, z, keys, turns, v, out, lse):
    """Fills out (heads, blocks, chunk, value_width) and lse (heads, blocks, chunk); a task is the queries of a chunk.

    near (heads, blocks, key, query) holds their scores with the keys of their own chunk, and z (heads, blocks, chunk, head_width)
    the queries as they leave it. At each chunk before, S^T = K Z^T, and Z^T becomes T^T Z^T, with keys (kv_heads, chunks, chunk,
    head_width) and turns (kv_heads, chunks, head_width, head_width). All rows and widths are whole micro tiles.
    """
    control, width, head_width, value_width, micro = (flush_small(), sizes.chunk, sizes.head_width, sizes.value_width,
                                                      sizes.micro_columns)
    dtype, one, far = z.dtype, z.dtype.type(1), width + head_width + value_width
    s, a, panels = np.empty(width * width, dtype), np.empty(width * value_width, dtype), np.empty(width * value_width, dtype)
    z_t, turned = np.empty(width * head_width, dtype), np.empty(width * head_width, dtype)
    top, shift, kept, part = np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype), np.empty(width, dtype)
    none, spare, total = np.zeros(width, dtype), np.zeros(width, dtype), np.empty(width)
    while True:
        task = next_task(counter)
        if task >= sizes.heads * sizes.blocks:
            break
        head, block = task // sizes.blocks, sizes.blocks - 1 - task % sizes.blocks  # the longest go first
        own, place = sizes.chunks - sizes.blocks + block, head * sizes.blocks + block
        transpose_rows(z_t, width, z, place * width * head_width, head_width, width, one, sizes.lanes, micro)
        top[:], total[:], a[:] = -np.inf, 0, 0
        for n in range(own, -1, -1):
            there = head // sizes.groups * sizes.chunks + n
            if n == own:
                for x in range(width * width):
                    s[x] = near[place * width * width + x]
            else:
                product_set(s, 0, width, micro, keys, there * width * head_width, head_width, 1, z_t, head_width * micro, width, width,
                            sizes.head_dim, micro, -far, far)
                product_set(turned, 0, micro, head_width * micro, turns, there * head_width * head_width, 1, head_width, z_t,
                            head_width * micro, head_width, width, sizes.head_dim, micro, -far, far)
                z_t, turned = turned, z_t
            exponentials(s, width, width, top, total, a, value_width, micro, n < own, shift, kept, part, none, spare)
            pack_rows(panels, width, v, there * width * value_width, value_width, width, one, micro)
            product_add(a, 0, micro, width * micro, s, 0, 1, width, panels, width * micro, width, value_width, width, micro, -far, far)
        for i in range(width):
            seen = total[i] != 0
            lse[place * width + i] = math.log(total[i]) + top[i] if seen else -np.inf
            kept[i] = 1 / total[i] if seen else 0.0
        put_rows(out, place * width * value_width, value_width, a, width, width, kept, micro)
    restore(control)
