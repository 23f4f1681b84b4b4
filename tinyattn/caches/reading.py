"""How queries read keys that do not lie in one array: in parts, in pages, packed.

Causal always, on positions: the queries stand at the last q_len positions. Each function is the NumPy form of one
signature; a kernel with that signature takes its place in `paged_attention` and `quantized_attention`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import check_broadcast
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.merge import Partial, merge
from tinyattn.ops.options import Window, check_bias, check_mask, check_sinks, check_window, dense_bias, has_infinite
from tinyattn.ops.quantize import Packed, dequantize
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import is_half
from tinyattn.ops.types import Array

Part = tuple[Array, Array, Array]
# Keys that are gathered or unpacked at a time.
PART_KEYS = 512


def attend_parts(q: Array, parts: Iterable[Part], length: int, *, sinks: Array | None = None, **options: Any) -> Array:
    """Returns attention over keys that come in parts, merged by their log-sum-exps; the sink comes last, once.

    Arguments and options: as `read_parts`.

    >>> x = np.array([[[1.0], [3.0]]])
    >>> attend_parts(x[:, 1:] * 0, [(x[:, :1], x[:, :1], np.array([0])), (x[:, 1:], x[:, 1:], np.array([1]))], 2)
    array([[[2.]]])
    """
    read = read_parts(q, parts, np.arange(length - q.shape[-2], length), length, **options)
    return with_sinks(read, sinks).astype(q.dtype, copy=False)


def read_parts(q: Array, parts: Iterable[Part], at: Array, length: int, *, mask: Array | Pattern | None = None,
               bias: Array | Bias | None = None, window: Window | None = None, scale: float | None = None,
               softcap: float | None = None) -> Partial:
    """Returns (out, lse), float32 or wider, of queries (..., heads, i, d) at the positions `at` (i,), of `length` in all.

    Each part is keys (..., kv_heads, n, d), values (..., kv_heads, n, e) and their positions (n,), in any order. Options are
    those of `attention`, on positions: the last axis of a mask or bias is a key's position.
    """
    compute, full = computed(q.dtype), (*q.shape[:-1], length)
    mask, (left, _) = check_mask(mask, full), check_window(window)  # no later key is ever seen
    bias = settled_bias(bias, q, length, lambda: seen_part(mask, left, at, np.arange(length)))
    q, total = q.astype(compute, copy=False), None
    for keys, values, positions in parts:
        seen = seen_part(mask, left, at, positions)
        if total is None or seen is None or seen.any():
            given = (x.astype(compute, copy=False) for x in (keys, values))
            read = fastest.attention_with_lse(q, *given, mask=seen, bias=bias_part(bias, at, positions), scale=scale,
                                              softcap=softcap)
            total = read if total is None else merge(total, read)
    if total is None:
        raise ValueError("parts: expected one at least, that gives the shapes; it may hold no keys")
    return total


def settled_bias(bias: Array | Bias | None, q: Array, length: int, visible: Callable[[], Array | None]) -> Array | Bias | None:
    """Returns a bias in which +inf is settled for all keys together, before they are read in parts that do not know each other.

    `visible()` is which of the keys at 0 to length - 1 each query sees. Where a query sees several +inf they become NaN, as the
    row is; those that it does not see hide what is hidden.
    """
    settled = check_bias(bias, (*q.shape[:-1], length), computed(q.dtype), visible)
    if settled is None or isinstance(settled, Bias) or not has_infinite(settled):
        return settled
    seen = visible()
    shown: Array = np.where(settled == np.inf, np.where(True if seen is None else seen, np.nan, -np.inf), settled)
    return shown.astype(settled.dtype)


def with_sinks(partial: Partial, sinks: Array | None) -> Array:
    """Returns what was read beside a sink a head, (heads,), that takes its share of the weight."""
    out, lse = partial
    sinks = check_sinks(sinks, out.shape[-3], out.dtype)
    if sinks is None:
        return out
    with np.errstate(under="ignore", invalid="ignore"):  # NaN is an answer where NaN came
        shown: Array = out * np.exp(lse - np.logaddexp(lse, sinks[:, None]))[..., None]
    return shown


def computed(dtype: Any) -> Any:
    """Returns the dtype in which numbers of this one are added up."""
    return np.dtype(np.float32) if is_half(dtype) else dtype


def seen_part(mask: Array | Pattern | None, left: int | None, at: Array, positions: Array) -> Array | None:
    """Returns which queries at positions `at` see which keys at `positions`, none of them later; None is all."""
    seen = None
    if at.size and positions.size and (positions.max() > at.min() or (left is not None and positions.min() < at.max() - left)):
        offset = positions - at[:, None]
        seen = (offset <= 0) if left is None else (offset <= 0) & (offset >= -left)
    if mask is None:
        return seen
    if isinstance(mask, Pattern):
        shown = mask.visible(at, positions)
    else:
        shown = mask[..., positions] if mask.ndim and mask.shape[-1] > 1 else mask
    return shown if seen is None else seen & shown


def bias_part(bias: Array | Bias | None, at: Array, positions: Array) -> Array | None:
    """Returns the bias of keys at these positions."""
    if isinstance(bias, Bias):
        return bias.tile(at, positions)
    return bias[..., positions] if bias is not None and bias.ndim and bias.shape[-1] > 1 else bias


def paged_attention(q: Array, keys: Array, values: Array, tables: Array, lengths: Array, *, mask: Array | Pattern | None = None,
                    bias: Array | Bias | None = None, window: Window | None = None, scale: float | None = None,
                    softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns causal attention over keys and values in pages, found through a table a row.

    Key p of row b is keys[tables[b, p // page_size], :, p % page_size], for p < lengths[b]; the row's queries stand at its
    last q_len positions. What lies in other pages, or behind a row's length in its last page, is never read.

    q (rows, heads, i, d), keys (pages, kv_heads, page_size, d), values (pages, kv_heads, page_size, e), contiguous; tables
    (rows, blocks) and lengths (rows,) int64 -> (rows, heads, i, e). A mask or bias broadcasts to (rows, heads, i,
    max(lengths)), its last axis being positions.

    Raises:
        ValueError: tables that name a page that is not there, or too few for the lengths.

    >>> pages = np.array([0.0, 1.0, 2.0, 3.0]).reshape(2, 1, 2, 1)
    >>> paged_attention(np.zeros((1, 1, 1, 1)), pages, pages, np.array([[1, 0]]), np.array([3]))
    array([[[[1.66666667]]]])
    """
    check_tables(q, keys, tables, lengths)
    kernels = fastest.kernel("exact.reading")
    # Who sees a +inf depends on the row's length.
    settled = bias is None or isinstance(bias, Bias) or not has_infinite(floating("bias", bias))
    if kernels is not None and mask is None and settled and kernels.reads_pages(q, keys, values):
        out: Array = kernels.paged_attention(q, keys, values, tables, lengths, bias=bias, window=window, scale=scale, softcap=softcap,
                                             sinks=sinks)
        return out
    longest = int(lengths.max(initial=0))
    full = (*q.shape[:-1], longest)
    mask, bias = check_mask(mask, full), bias if isinstance(bias, Bias) else dense_bias(bias, full, computed(q.dtype))
    outs = [attend_parts(q[row], page_parts(keys, values, tables[row], int(lengths[row])), int(lengths[row]),
                         mask=row_of(mask, row, int(lengths[row])), bias=row_of(bias, row, int(lengths[row])), window=window,
                         scale=scale, softcap=softcap, sinks=sinks) for row in range(len(q))]
    return np.stack(outs) if outs else np.zeros((*q.shape[:-1], values.shape[-1]), q.dtype)


def check_tables(q: Array, keys: Array, tables: Array, lengths: Array) -> None:
    """Raises ValueError unless every token of every row has a page: a kernel would read what lies elsewhere."""
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
    """Returns what a mask or bias of all rows says of one, as long as the row is."""
    if isinstance(option, Pattern):
        return Pattern(lambda i, j: row_of(np.asarray(option.see(i, j)), row, length), text=option.text)
    if option is None or isinstance(option, Bias) or not option.ndim:
        return option
    one = option[min(row, len(option) - 1)] if option.ndim == 4 else option
    return one[..., :length] if one.shape[-1] > 1 else one


def page_parts(keys: Array, values: Array, table: Array, length: int, part: int = PART_KEYS) -> Iterator[Part]:
    """Yields the keys and values of one row, gathered from about `part` tokens' pages at a time."""
    size = keys.shape[-2]
    step = max(1, part // size)
    for block in range(0, max(1, -(-length // size)), step):
        first, last = block * size, min(length, (block + step) * size)
        pages, tokens = table[block : -(-last // size)], last - first
        yield gathered(keys, pages)[:, :tokens], gathered(values, pages)[:, :tokens], np.arange(first, last)


def gathered(pool: Array, pages: Array) -> Array:
    """Returns what lies in pages of a pool (pages, kv_heads, page_size, width), in their order: (kv_heads, n, width)."""
    return pool[pages].swapaxes(0, 1).reshape(pool.shape[1], len(pages) * pool.shape[2], pool.shape[3])


def narrowed(mask: Array | Pattern | None, pattern: Pattern, at: Array, length: int) -> Array | Pattern:
    """Returns a mask that a pattern narrows, for queries at these positions."""
    if isinstance(mask, np.ndarray):
        return mask & pattern.visible(at, np.arange(length))
    return pattern if mask is None else mask & pattern


def piece_of(name: str, option: Any, rows: slice, length: int, full: tuple[int, ...]) -> Any:
    """Returns what a mask or bias of a whole chunk says of some of its queries, when there were `length` tokens."""
    if not isinstance(option, np.ndarray) or not option.ndim:
        return option
    check_broadcast(name, option.shape, full)
    some = option[..., rows, :] if option.ndim > 1 and option.shape[-2] > 1 else option
    return some[..., :length] if some.shape[-1] > 1 else some


def quantized_attention(q: Array, keys: Packed, values: Packed, new_keys: Array, new_values: Array, *,
                        mask: Array | Pattern | None = None, bias: Array | Bias | None = None, window: Window | None = None,
                        scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns causal attention over older tokens that are packed and newer ones that are not; never a whole unpacked copy.

    q (..., heads, i, d); keys and values: packed rows (..., kv_heads, n, d) in groups of tokens and (..., kv_heads, n, e) in
    groups of channels, at positions 0 to n - 1; new_keys (..., kv_heads, m, d) and new_values at n to n + m - 1, after them.
    Rows are contiguous, heads need not be -> (..., heads, i, e).

    >>> from tinyattn.ops.quantize import quantize
    >>> x = np.array([[[1.0], [4.0]]])
    >>> packed = [quantize(x, bits=8, group=2, axis=axis) for axis in (-2, -1)]
    >>> quantized_attention(np.zeros((1, 1, 1)), *packed, x[:, :1] + 6.0, x[:, :1] + 6.0)
    array([[[4.]]])
    """
    kernels = fastest.kernel("exact.reading")
    if kernels is not None and mask is None and kernels.reads_packed(q, keys, values, new_keys, new_values):
        out: Array = kernels.quantized_attention(q, keys, values, new_keys, new_values, bias=bias, window=window, scale=scale,
                                                 softcap=softcap, sinks=sinks)
        return out
    held, length = keys.codes.shape[-2], keys.codes.shape[-2] + new_keys.shape[-2]
    parts = chain([(new_keys, new_values, np.arange(held, length))], packed_parts(keys, values))
    return attend_parts(q, parts, length, mask=mask, bias=bias, window=window, scale=scale, softcap=softcap, sinks=sinks)


def packed_parts(keys: Packed, values: Packed, part: int = PART_KEYS) -> Iterator[Part]:
    """Yields packed tokens as numbers, about `part` of them at a time."""
    held = keys.codes.shape[-2]
    step = keys.group * max(1, part // keys.group)
    for start in range(0, held, step):
        stop = min(start + step, held)
        yield dequantize(keys.rows(start, stop)), dequantize(values.rows(start, stop)), np.arange(start, stop)
