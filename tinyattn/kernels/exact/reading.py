"""Decoding from keys that do not lie in one array: in parts, in pages, packed; the kernels read them in place.

Causal always, on positions: the queries stand at the last q_len positions. Options are those of attention, and of a mask and a
bias the last axis is a key's position. Nothing is checked here: the caller makes sure of what `reads_pages` or `reads_packed`
allow, and that every page number and length is within its array. The public functions, in `stored.py`, check all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinyattn.kernels.exact.lines import Lines, PartialSums, flat, in_lines, side_by_side
from tinyattn.kernels.exact.packed import decode_packed
from tinyattn.kernels.exact.paged import decode_paged
from tinyattn.kernels.exact.primitive import CHUNK, MOST_LINES
from tinyattn.kernels.tiles.dots import KEYS
from tinyattn.kernels.tiles.lanes import columns, lanes
from tinyattn.kernels.tiles.storage import rows_of, work
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.quantize import Packed
from tinyattn.ops.types import Array


def reads(q: Array, keys: Array, values: Array) -> bool:
    """Returns whether the kernels read keys and values of these widths and heads: float32 or float64, rows of whole registers."""
    kv_heads, dim, value_dim = keys.shape[-3], keys.shape[-1], values.shape[-1]
    if q.dtype not in (np.float32, np.float64) or q.dtype != keys.dtype or not kv_heads or q.shape[-3] % kv_heads:
        return False
    return (q.shape[-1] == dim > 0 and not dim % lanes(q.itemsize) and value_dim > 0 and not value_dim % columns(q.itemsize)
            and q.shape[-3] // kv_heads <= MOST_LINES and q.size > 0)


def reads_pages(q: Array, keys: Array, values: Array) -> bool:
    """Returns whether `paged_attention` takes these."""
    return reads(q, keys, values) and not keys.shape[-2] % KEYS


def reads_packed(q: Array, keys: Packed, values: Packed, new_keys: Array, new_values: Array) -> bool:
    """Returns whether `quantized_attention` takes these."""
    return reads(q, new_keys, new_values) and all(packed.scale.dtype == q.dtype and unpacks(packed) for packed in (keys, values))


def attend_parts(q: Array, parts: Sequence[tuple[Array, Array, int]], length: int, **options: Any) -> Array:
    """Returns attention over keys that come in parts: keys, values and the position of the first; the others follow it.

    q (..., heads, i, d) at the last i of `length` positions, keys (..., kv_heads, n, d), values (..., kv_heads, n, e).

    >>> x = np.ones((1, 8, 16))
    >>> attend_parts(x[:, 7:], [(x[:, 4:], x[:, 4:], 4), (x[:, :4], x[:, :4], 0)], 8)[0, 0, :2]
    array([1., 1.])
    """
    kv_heads, value_dim = parts[0][0].shape[-3], parts[0][1].shape[-1]
    return in_lines(q, kv_heads, value_dim, length, lambda lines: [side_by_side(lines, *part) for part in parts], **options)


def paged_attention(q: Array, keys: Array, values: Array, tables: Array, lengths: Array, **options: Any) -> Array:
    """Returns attention over keys and values in pages, found through one table per row; nothing is gathered.

    q (rows, heads, i, d), keys (pages, kv_heads, page_size, d), values (pages, kv_heads, page_size, e), contiguous,
    page_size a multiple of 4; tables (rows, blocks) and lengths (rows,) int64. A mask is an array where lengths differ.

    >>> x = np.ones((2, 1, 4, 16))
    >>> paged_attention(x[:1, :, :1], x, x, np.array([[1, 0]]), np.array([5]))[0, 0, 0, :2]
    array([1., 1.])
    """
    size, longest = keys.shape[-2], int(lengths.max(initial=0))
    blocks = max(1, CHUNK // size)
    chunks = max(1, -(-longest // (blocks * size)))

    def read(lines: Lines) -> Sequence[PartialSums]:
        partial = lines.partial(chunks)
        run(decode_paged, len(lengths) * keys.shape[1] * chunks, 4 * work(lines.sizes), chunks, blocks, size, tables.reshape(-1),
            lengths - (longest - lines.first - lines.sizes.q_len), *lines.rules, lines.queries.reshape(-1), keys.reshape(-1),
            values.reshape(-1), *flat(partial))
        return [partial]

    return in_lines(q, keys.shape[1], values.shape[-1], longest, read, **options)


def quantized_attention(q: Array, keys: Packed, values: Packed, new_keys: Array, new_values: Array, **options: Any) -> Array:
    """Returns attention over older tokens that are packed, unpacked a group at a time, and newer ones that are not.

    q (..., heads, i, d); keys in groups of tokens, (..., kv_heads, n, d), values in groups of channels, (..., kv_heads, n, e);
    new_keys (..., kv_heads, m, d) and new_values after them.

    >>> from tinyattn.ops.quantize import quantize
    >>> x = np.ones((1, 8, 32))
    >>> packed = [quantize(x, bits=8, group=8, axis=-2), quantize(x, bits=8, group=32, axis=-1)]
    >>> quantized_attention(x[:, 7:], *packed, x, x)[0, 0, :2]
    array([1., 1.])
    """
    held = keys.codes.shape[-2]
    groups = max(1, CHUNK // keys.group)
    chunks = -(-held // (groups * keys.group))
    packed = [*rows_of(keys.codes), *grouped(keys), *rows_of(values.codes), *grouped(values)]

    def read(lines: Lines) -> Sequence[PartialSums]:
        new = side_by_side(lines, new_keys, new_values, held)
        if not held:
            return [new]
        partial, sizes = lines.partial(chunks), lines.sizes
        run(decode_packed, sizes.batch * sizes.kv_heads * chunks, 4 * work(sizes), chunks, groups, keys.group, values.group, keys.bits,
            held, lines.first, *lines.rules, lines.queries.reshape(-1), *packed, *flat(partial))
        return [partial, new]

    return in_lines(q, new_keys.shape[-3], new_values.shape[-1], held + new_keys.shape[-2], read, **options)


def grouped(packed: Packed) -> tuple[Array, Array, Array]:
    """Returns scales and zeros flat, and where those of each head begin."""
    scale, zero = (rows_of(x) for x in (packed.scale, packed.zero))
    return scale.values, zero.values, scale.start


def unpacks(packed: Packed) -> bool:
    """Returns whether rows and groups are whole registers of codes."""
    register = lanes(packed.scale.itemsize) * 8 // packed.bits
    return not packed.width % register and (packed.axis == -2 or not packed.group % register)
