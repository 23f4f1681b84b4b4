"""Decoding over packed keys and values: a group of tokens is unpacked into the processor's first cache, read, and dropped."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.decode import weigh
from tinyattn.kernels.exact.unpack import bytes_by_channel, bytes_by_group, halves_by_channel, halves_by_group
from tinyattn.kernels.tiles.dots import KEYS, LINES, dots
from tinyattn.kernels.tiles.jit import compiled
from tinyattn.kernels.tiles.product import product_add_few
from tinyattn.kernels.tiles.threads import next_task


@compiled
def decode_packed(counter, chunks, groups, group, channels, bits, held, first, sizes, rules, mask, mask_at, bias, bias_at, distance,
                  rule, values, starts, steps, constants,
                  q, k, k_at, k_row, k_scale, k_zero, k_scale_at, v, v_at, v_row, v_scale, v_zero, v_scale_at,
                  part, part_top, part_total):
    """Fills the partial results of every chunk of `groups` groups, as `decode` does of keys that are not packed.

    Keys have a scale and a zero per channel in every group of `group` tokens, values one per token in every `channels`
    channels. k and v are codes in bytes, `bits` each, rows k_row and v_row bytes apart.
    """
    width, value_dim, head_dim = sizes.q_tile, sizes.value_dim, sizes.head_dim
    lines = sizes.heads // sizes.kv_heads * sizes.q_len
    rows = (group + KEYS - 1) // KEYS * KEYS
    s = np.zeros((groups * group + KEYS) * width, q.dtype)
    tile = np.zeros(rows * max(head_dim, value_dim), q.dtype)
    parameters_at, places = np.empty(steps.size // 2, np.int64), np.zeros(width + s.size // width, q.dtype)
    a, shift, spare = np.empty(width * value_dim, q.dtype), np.empty(3 * width, q.dtype), np.zeros(width, q.dtype)
    value_groups = (value_dim + channels - 1) // channels
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.kv_heads * chunks:
            break
        kv_head, j0 = task // chunks, task % chunks * groups * group
        keys = max(0, min(held - j0, groups * group))
        for x in range(width * value_dim):
            a[x] = 0
        for j in range(0, keys, group):
            scale = k_scale_at[kv_head] + (j0 + j) // group * head_dim
            for t in range(group):
                if bits == 8:
                    bytes_by_channel(tile, t * head_dim, k, k_at[kv_head] + (j0 + j + t) * k_row, k_scale, k_zero, scale, head_dim)
                else:
                    halves_by_channel(tile, t * head_dim, k, k_at[kv_head] + (j0 + j + t) * k_row, k_scale, k_zero, scale, head_dim)
            for x in range(0, rows, KEYS):
                for line in range(0, lines, LINES):
                    dots(s, (j + x) * width + line, width, q, (kv_head * width + line) * head_dim, head_dim, tile, x * head_dim,
                         head_dim, head_dim)
        weigh(s, j0, keys, first, lines, kv_head, task, sizes, rules, mask, mask_at, bias, bias_at, distance,
              rule, values, starts, steps, constants, parameters_at, places, shift, spare, part_top, part_total)
        for j in range(0, keys, group):
            for t in range(group):
                code, scale = v_at[kv_head] + (j0 + j + t) * v_row, v_scale_at[kv_head] + (j0 + j + t) * value_groups
                for n in range(value_groups):
                    e = n * channels
                    if bits == 8:
                        bytes_by_group(tile, t * value_dim + e, v, code + e, v_scale, v_zero, scale + n, min(channels, value_dim - e))
                    else:
                        halves_by_group(tile, t * value_dim + e, v, code + e // 2, v_scale, v_zero, scale + n,
                                        min(channels, value_dim - e))
            product_add_few(a, 0, value_dim, s, j * width, 1, width, tile, 0, value_dim, lines, value_dim, group, sizes.micro_columns)
        for x in range(lines * value_dim):
            part[task * lines * value_dim + x] = a[x]
