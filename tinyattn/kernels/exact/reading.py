"""Decoding from keys that do not lie in one array: in parts, in pages, packed; the kernels read them in place.

Causal always, on positions: the queries stand at the last q_len positions. Each function has the signature of its NumPy
form without a mask. Nothing is checked here: the caller makes sure of what `reads_pages` or `reads_packed` allow, and that
every page number and length is within its array. The public doors, in `stored.py`, check all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinyattn.kernels.exact.decode import decode, join
from tinyattn.kernels.exact.line_rules import of_lines
from tinyattn.kernels.exact.packed import decode_packed
from tinyattn.kernels.exact.paged import decode_paged
from tinyattn.kernels.exact.primitive import CHUNK, MOST_LINES, Options, scoring
from tinyattn.kernels.tiles.dots import KEYS
from tinyattn.kernels.tiles.lanes import ROWS, columns, lanes
from tinyattn.kernels.tiles.listed import LISTS
from tinyattn.kernels.tiles.seen import seen_of, sides_of
from tinyattn.kernels.tiles.storage import KV_TILE, Sizes, distances, rounded_up, rows_of, work
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.bias import Bias
from tinyattn.ops.options import Window, check_bias, check_scale, check_sinks, check_softcap, visible_keys
from tinyattn.ops.quantize import Packed
from tinyattn.ops.score_rule import Score, ScoreRule, check_score, with_parts
from tinyattn.ops.types import Array


class PartialSums(NamedTuple):
    """Partial sums over chunks of keys: values [kv head][chunk][line][value_dim], and top and total [kv head][chunk][line]."""

    values: Array
    top: Array
    total: Array


class Lines(NamedTuple):
    """Some of a call's queries, those of a group side by side, and all that the kernels are told of them."""

    sizes: Sizes
    rules: tuple[Any, ...]
    queries: Array
    left: int
    behind: int

    def partial(self, chunks: int) -> PartialSums:
        """Returns room for the partial results of some chunks."""
        sizes = self.sizes
        count, lines = sizes.batch * sizes.kv_heads, sizes.q_len * sizes.heads // sizes.kv_heads
        return PartialSums(np.empty((count, chunks, lines, sizes.value_dim), self.queries.dtype),
                       np.empty((count, chunks, lines), self.queries.dtype), np.empty((count, chunks, lines)))


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


def in_lines(q: Array, kv_heads: int, value_dim: int, length: int, bias: Array | Bias | None, window: Window | None,
             scale: float | None, softcap: float | None, sinks: Array | None, score: Score | None,
             read: Callable[[Lines], Sequence[PartialSums]]) -> Array:
    """Returns the attention of all queries, `read` giving partial results of as many at a time as the kernels take."""
    full = (*q.shape[:-1], length)
    heads, q_len = full[-3:-1]
    bias = check_bias(bias, full, q.dtype, lambda: visible_keys(None, True, window, full))
    sinks, left = check_sinks(sinks, heads, q.dtype), sides_of(window)[0]
    scale, softcap, rule = check_scale(scale, q.shape[-1]), check_softcap(softcap), check_score(score, full, q.dtype)
    if not q.size:
        return np.zeros((*q.shape[:-1], value_dim), q.dtype)
    outs, step = [], max(1, MOST_LINES * kv_heads // heads)
    for start in range(0, q_len, step):
        rows = slice(start, start + step)
        some, near, own = (of_queries(option, rows) for option in (q, bias, rule))
        lines = told(some, kv_heads, value_dim, length, near, left, scale, softcap, own, q_len - start - some.shape[-2])
        outs.append(merged(lines, read(lines), sinks).reshape(*some.shape[:-1], value_dim))
    return outs[0] if len(outs) == 1 else np.concatenate(outs, axis=-2)


def told(q: Array, kv_heads: int, value_dim: int, length: int, bias: Array | Bias | None, left: int | None, scale: float,
         softcap: float | None, rule: ScoreRule | None, behind: int) -> Lines:
    """Returns what the kernels are told of a few queries, `behind` of a call's queries coming after them."""
    *lead, heads, q_len, head_dim = q.shape
    lines = q_len * heads // kv_heads
    width, tile = rounded_up(lines, max(lanes(q.itemsize), ROWS)), columns(q.itemsize)
    sizes = Sizes(math.prod(lead), heads, kv_heads, q_len, length, head_dim, value_dim, length, head_dim, value_dim, width,
                  rounded_up(KV_TILE, ROWS), tile, lanes(q.itemsize))
    distance = None
    if isinstance(bias, Bias):
        distance, bias = distances(bias, heads, q_len, length, q.dtype), None
    full = (*q.shape[:-1], length)
    seen = seen_of(None, left, 0, full, sizes)
    rules, *arrays = scoring(Options(None, left, 0, scale, softcap, False), seen, bias, distance, full, q.dtype)
    queries = np.zeros((sizes.batch * kv_heads, width, head_dim), q.dtype)
    np.multiply(q.reshape(-1, lines, head_dim), q.dtype.type(rules.factor), out=queries[:, :lines])
    return Lines(sizes, (sizes, rules, *arrays[LISTS:], *of_lines(rule, full, kv_heads, q.dtype)), queries, seen.left, behind)


def of_queries(option: Any, rows: slice) -> Any:
    """Returns the part for some queries of arrays that broadcast to the scores, and anything else as it is."""
    if isinstance(option, ScoreRule):
        return with_parts(option, lambda x: of_queries(x, rows))
    return option[..., rows, :] if isinstance(option, np.ndarray) and option.ndim > 1 and option.shape[-2] > 1 else option


def merged(lines: Lines, partials: Sequence[PartialSums], sinks: Array | None) -> Array:
    """Returns the results of all chunks as one, a sink last."""
    sizes, dtype = lines.sizes, lines.queries.dtype
    values, top, total = partials[0] if len(partials) == 1 else (np.concatenate(part, axis=1) for part in zip(*partials, strict=True))
    logits = np.zeros(0, dtype) if sinks is None else np.repeat(np.tile(sinks, sizes.batch), sizes.q_len)
    out, lse = np.empty((len(values), values.shape[2], sizes.value_dim), dtype), np.empty(top[:, 0].size, dtype)
    join(values.shape[1], values.shape[2], sizes.value_dim, logits, values.reshape(-1), top.reshape(-1), total.reshape(-1),
         out.reshape(-1), lse)
    return out


def flat(partial: PartialSums) -> Iterator[Array]:
    """Yields the arrays of a partial result as the kernels fill them."""
    return (array.reshape(-1) for array in partial)


def side_by_side(lines: Lines, keys: Array, values: Array, origin: int) -> PartialSums:
    """Returns the partial results of keys (..., kv_heads, n, d) at the positions from `origin` on."""
    sizes = lines.sizes
    first = sizes.kv_len - lines.behind - sizes.q_len
    # Only what some query sees is read: NaN outside would otherwise be multiplied by a weight of 0.
    low, high = max(0, first - lines.left - origin), min(keys.shape[-2], first + sizes.q_len - origin)
    keys, values = keys[..., low:high, :], values[..., low:high, :]
    held = max(0, high - low)
    if held < KEYS:  # the kernel takes KEYS of them at least at a time
        missing = [(0, 0)] * (keys.ndim - 2) + [(0, KEYS - held), (0, 0)]
        keys, values = (np.pad(x, missing) for x in (keys, values))
    chunks = -(-max(held, 1) // CHUNK)
    partial = lines.partial(chunks)
    spent = 4 * work(sizes._replace(kv_len=held))
    run(decode, sizes.batch * sizes.kv_heads * chunks, spent, chunks, held, origin + low, first, *lines.rules,
        lines.queries.reshape(-1), *rows_of(keys), *rows_of(values), *flat(partial))
    return partial


def attend_parts(q: Array, parts: Sequence[tuple[Array, Array, int]], length: int, *, bias: Array | Bias | None = None,
                 window: Window | None = None, scale: float | None = None, softcap: float | None = None,
                 sinks: Array | None = None, score: Score | None = None) -> Array:
    """Returns attention over keys that come in parts: keys, values and the position of the first; the others follow it.

    q (..., heads, i, d) at the last i of `length` positions, keys (..., kv_heads, n, d), values (..., kv_heads, n, e).

    >>> x = np.ones((1, 8, 16))
    >>> attend_parts(x[:, 7:], [(x[:, 4:], x[:, 4:], 4), (x[:, :4], x[:, :4], 0)], 8)[0, 0, :2]
    array([1., 1.])
    """
    kv_heads, value_dim = parts[0][0].shape[-3], parts[0][1].shape[-1]
    return in_lines(q, kv_heads, value_dim, length, bias, window, scale, softcap, sinks, score,
                    lambda lines: [side_by_side(lines, *part) for part in parts])


def paged_attention(q: Array, keys: Array, values: Array, tables: Array, lengths: Array, *, bias: Array | Bias | None = None,
                    window: Window | None = None, scale: float | None = None, softcap: float | None = None,
                    sinks: Array | None = None, score: Score | None = None) -> Array:
    """Returns attention over keys and values in pages, found through a table a row; nothing is gathered.

    q (rows, heads, i, d), keys (pages, kv_heads, page_size, d), values (pages, kv_heads, page_size, e), contiguous,
    page_size a multiple of 4; tables (rows, blocks) and lengths (rows,) int64.

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
            lengths - lines.behind, *lines.rules, lines.queries.reshape(-1), keys.reshape(-1), values.reshape(-1), *flat(partial))
        return [partial]

    return in_lines(q, keys.shape[1], values.shape[-1], longest, bias, window, scale, softcap, sinks, score, read)


def quantized_attention(q: Array, keys: Packed, values: Packed, new_keys: Array, new_values: Array, *,
                        bias: Array | Bias | None = None, window: Window | None = None, scale: float | None = None,
                        softcap: float | None = None, sinks: Array | None = None, score: Score | None = None) -> Array:
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
            held, sizes.kv_len - lines.behind - sizes.q_len, *lines.rules, lines.queries.reshape(-1), *packed, *flat(partial))
        return [partial, new]

    length = held + new_keys.shape[-2]
    return in_lines(q, new_keys.shape[-3], new_values.shape[-1], length, bias, window, scale, softcap, sinks, score, read)


def grouped(packed: Packed) -> tuple[Array, Array, Array]:
    """Returns scales and zeros flat, and where those of each head begin."""
    scale, zero = (rows_of(x) for x in (packed.scale, packed.zero))
    return scale.values, zero.values, scale.start


def unpacks(packed: Packed) -> bool:
    """Returns whether rows and groups are whole registers of codes."""
    register = lanes(packed.scale.itemsize) * 8 // packed.bits
    return not packed.width % register and (packed.axis == -2 or not packed.group % register)
