"""Attention over older tokens, stored as codes, and newer ones, stored unchanged; the codes are unpacked a part at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.caches.parts import PART_KEYS, Part, attend_parts, computed, few, is_learned
from tinyattn.ops.quantize import Packed, dequantize
from tinyattn.ops.types import Array

# Up to this many numbers, unpacking all codes and attending in one call is faster than the kernel: 180 us instead of 250.
FEW = 1 << 16


def quantized_attention(q: Array, keys: Packed, values: Packed, new_keys: Array, new_values: Array, **options: Any) -> Array:
    """Returns causal attention over older tokens, stored as codes, and newer ones; many codes are unpacked a part at a time.

    q (..., heads, i, d); keys and values: packed rows (..., kv_heads, n, d) in groups of tokens and (..., kv_heads, n, e) in
    groups of channels, at positions 0 to n - 1; new_keys (..., kv_heads, m, d) and new_values at n to n + m - 1.
    Rows are contiguous, heads need not be -> (..., heads, i, e). Options are those of `attention`.

    >>> from tinyattn.ops.quantize import quantize
    >>> x = np.array([[[1.0], [4.0]]])
    >>> packed = [quantize(x, bits=8, group=2, axis=axis) for axis in (-2, -1)]
    >>> quantized_attention(np.zeros((1, 1, 1)), *packed, x[:, :1] + 6.0, x[:, :1] + 6.0)
    array([[[4.]]])
    """
    held, new = keys.codes.shape[-2], new_keys.shape[-2]
    if math.prod(keys.codes.shape[:-1]) * (keys.width + values.width) <= FEW:
        compute = computed(q.dtype)
        k, v = (np.concatenate((dequantize(old).astype(compute, copy=False), rows.astype(compute, copy=False)), axis=-2)
                for old, rows in ((keys, new_keys), (values, new_values)))
        out: Array = fastest.attention(q.astype(compute, copy=False), k, v, causal=True, **options)
        return out.astype(q.dtype, copy=False)
    kernels = fastest.kernel("exact.reading")
    learned = any(map(is_learned, options.values()))
    if kernels is not None and not learned and kernels.reads_packed(q, keys, values, new_keys, new_values):
        if options.get("score") is None or few(q, new_keys.shape[-3], kernels.MOST_LINES):
            read: Array = kernels.quantized_attention(q, keys, values, new_keys, new_values, **options)
            return read
    parts = chain([Part(new_keys, new_values, np.arange(held, held + new))], packed_parts(keys, values))
    return attend_parts(q, parts, held + new, **options)


def packed_parts(keys: Packed, values: Packed) -> Iterator[Part]:
    """Yields the numbers that the codes stand for, about PART_KEYS tokens at a time."""
    held = keys.codes.shape[-2]
    step = keys.group * max(1, PART_KEYS // keys.group)
    for start in range(0, held, step):
        stop = min(start + step, held)
        yield Part(dequantize(keys.rows(start, stop)), dequantize(values.rows(start, stop)), np.arange(start, stop))
