"""Attention over keys and values that lie in pages, found through a table per row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.caches.parts import PART_KEYS, Part, attend_parts, computed, few, is_learned
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_mask, dense_bias, has_infinite
from tinyattn.ops.score_rule import Score, ScoreRule, check_score, with_parts
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


def paged_attention(q: Array, keys: Array, values: Array, tables: Array, lengths: Array, *, mask: Array | Pattern | None = None,
                    bias: Array | Bias | None = None, window: Window | None = None, scale: float | None = None,
                    softcap: float | None = None, sinks: Array | None = None, score: Score | None = None) -> Array:
    """Returns causal attention over keys and values in pages, found through a table per row.

    Key p of row b is keys[tables[b, p // page_size], :, p % page_size], for p < lengths[b]; the row's queries stand at its
    last q_len positions. Other pages, and the last page behind the row's length, are never read.

    q (rows, heads, i, d), keys (pages, kv_heads, page_size, d), values (pages, kv_heads, page_size, e), contiguous; tables
    (rows, blocks) and lengths (rows,) int64 -> (rows, heads, i, e). A mask or bias broadcasts to (rows, heads, i,
    max(lengths)), its last axis being positions.

    Raises:
        ValueError: tables that name a page that does not exist, or too few pages for the lengths.

    >>> pages = np.array([0.0, 1.0, 2.0, 3.0]).reshape(2, 1, 2, 1)
    >>> paged_attention(np.zeros((1, 1, 1, 1)), pages, pages, np.array([[1, 0]]), np.array([3]))
    array([[[[1.66666667]]]])
    """
    check_tables(q, keys, tables, lengths)
    kernels = fastest.kernel("exact.reading")
    # Which queries see a +inf depends on the length of their row.
    settled = bias is None or isinstance(bias, Bias) or not has_infinite(floating("bias", bias))
    # A predicate on positions is another array for queries at other positions.
    one_mask = not isinstance(mask, Pattern) or (lengths == lengths[:1]).all()
    learned = any(map(is_learned, (bias, sinks, score)))
    reads = kernels is not None and one_mask and settled and not learned and kernels.reads_pages(q, keys, values)
    if reads and (score is None or few(q, keys.shape[1], kernels.MOST_LINES)):
        out: Array = kernels.paged_attention(q, keys, values, tables, lengths, mask=mask, bias=bias, window=window, scale=scale,
                                             softcap=softcap, sinks=sinks, score=score)
        return out
    full = (*q.shape[:-1], int(lengths.max(initial=0)))
    mask, bias = check_mask(mask, full), bias if isinstance(bias, Bias) else dense_bias(bias, full, computed(q.dtype))
    check_score(score, full, computed(q.dtype))
    outs = [attend_parts(q[row], page_parts(keys, values, tables[row], int(lengths[row])), int(lengths[row]),
                         mask=row_of(mask, row, int(lengths[row])), bias=row_of(bias, row, int(lengths[row])), window=window,
                         scale=scale, softcap=softcap, sinks=sinks, score=row_of(score, row, int(lengths[row])))
            for row in range(len(q))]
    return np.stack(outs) if outs else np.zeros((*q.shape[:-1], values.shape[-1]), q.dtype)


def check_tables(q: Array, keys: Array, tables: Array, lengths: Array) -> None:
    """Raises ValueError unless every token of every row has a page: a kernel would read memory outside of the pool."""
    pages, _, size, _ = keys.shape
    if tables.dtype != np.int64 or tables.ndim != 2 or not lengths.shape == tables.shape[:1] == q.shape[:1]:
        raise ValueError(f"tables: expected (rows, blocks) int64, lengths (rows,) and q (rows, ...), got {tables.dtype} "
                         f"{tables.shape}, {lengths.shape} and {q.shape}")
    if tables.size and not 0 <= tables.min() <= tables.max() < pages:
        raise ValueError(f"tables: expected pages 0 to {pages - 1}, got {int(tables.min())} to {int(tables.max())}")
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= tables.shape[1] * size:
        raise ValueError(f"lengths: expected 0 to the {tables.shape[1] * size} tokens of {tables.shape[1]} pages, got "
                         f"{int(lengths.min())} to {int(lengths.max())}")


def row_of(option: Any, row: int, length: int) -> Any:
    """Returns the mask, bias or score rule of one row, cut to the row's length."""
    if isinstance(option, ScoreRule):
        return with_parts(option, lambda x: row_of(x, row, length))
    if isinstance(option, Pattern):
        return Pattern(lambda i, j: row_of(np.asarray(option.see(i, j)), row, length), text=option.text)
    if not getattr(option, "shape", ()):
        return option
    one = option[min(row, option.shape[0] - 1)] if option.ndim == 4 else option
    return one[..., :length] if one.shape[-1] > 1 else one


def page_parts(keys: Array, values: Array, table: Array, length: int, part: int = PART_KEYS) -> Iterator[Part]:
    """Yields the keys and values of one row, gathered from the pages of about `part` tokens at a time."""
    size = keys.shape[-2]
    step = max(1, part // size)
    for block in range(0, max(1, -(-length // size)), step):
        first, last = block * size, min(length, (block + step) * size)
        pages, tokens = table[block : -(-last // size)], last - first
        yield Part(gathered(keys, pages)[:, :tokens], gathered(values, pages)[:, :tokens], np.arange(first, last))


def gathered(pool: Array, pages: Array) -> Array:
    """Returns the rows of some pages of a pool (pages, kv_heads, page_size, width), in their order: (kv_heads, n, width)."""
    kv_heads, size, width = pool.shape[1:]
    rows = pool.reshape(len(pool) * kv_heads, size * width)[pages * kv_heads + np.arange(kv_heads)[:, None]]
    return rows.reshape(kv_heads, len(pages) * size, width)
