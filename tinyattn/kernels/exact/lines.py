"""Queries beside each other, as the kernels of decoding take them: what they are told, and the parts of a result merged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinyattn.kernels.exact.decode import decode, join
from tinyattn.kernels.exact.line_rules import of_lines
from tinyattn.kernels.exact.primitive import CHUNK, MOST_LINES, Options, scoring
from tinyattn.kernels.tiles.dots import KEYS
from tinyattn.kernels.tiles.lanes import ROWS, columns, lanes
from tinyattn.kernels.tiles.listed import LISTS
from tinyattn.kernels.tiles.seen import seen_of, sides_of
from tinyattn.kernels.tiles.storage import KV_TILE, Sizes, distances, rounded_up, rows_of, work
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import check_broadcast
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_bias, check_mask, check_scale, check_sinks, check_softcap, visible_keys
from tinyattn.ops.score_rule import Score, ScoreRule, check_score, with_parts
from tinyattn.ops.types import Array


class PartialSums(NamedTuple):
    """Partial sums over chunks of keys: values [kv head][chunk][line][value_dim], and top and total [kv head][chunk][line]."""

    values: Array
    top: Array
    total: Array


class Scoring(NamedTuple):
    """How products become scores: options that were checked; `left` and `right` bound the keys that a query sees."""

    mask: Array | None
    bias: Array | Bias | None
    left: int | None
    right: int | None
    scale: float
    softcap: float | None
    rule: ScoreRule | None


class Lines(NamedTuple):
    """Some of a call's queries, those of a group side by side, and all that the kernels are told of them.

    The first query stands at position `first`, and sees the keys from `left` before it to `right` behind it.
    """

    sizes: Sizes
    rules: tuple[Any, ...]
    queries: Array
    first: int
    left: int
    right: int

    def partial(self, chunks: int) -> PartialSums:
        """Returns room for the partial results of some chunks."""
        sizes = self.sizes
        count, lines = sizes.batch * sizes.kv_heads, sizes.q_len * sizes.heads // sizes.kv_heads
        return PartialSums(np.empty((count, chunks, lines, sizes.value_dim), self.queries.dtype),
                           np.empty((count, chunks, lines), self.queries.dtype), np.empty((count, chunks, lines)))


def in_lines(q: Array, kv_heads: int, value_dim: int, length: int, read: Callable[[Lines], Sequence[PartialSums]], *,
             mask: Array | Pattern | None = None, bias: Array | Bias | None = None, window: Window | None = None,
             scale: float | None = None, softcap: float | None = None, sinks: Array | None = None,
             score: Score | None = None) -> Array:
    """Returns the causal attention of all queries, `read` giving partial results of as many at a time as the kernels take."""
    full = (*q.shape[:-1], length)
    heads, q_len = full[-3:-1]
    mask = check_mask(mask, full)
    bias = check_bias(bias, full, q.dtype, lambda: visible_keys(mask, True, window, full))
    sinks, left = check_sinks(sinks, heads, q.dtype), sides_of(window)[0]
    scale, softcap, rule = check_scale(scale, q.shape[-1]), check_softcap(softcap), check_score(score, full, q.dtype)
    if not q.size:
        return np.zeros((*q.shape[:-1], value_dim), q.dtype)
    outs, step = [], max(1, MOST_LINES * kv_heads // heads)
    for start in range(0, q_len, step):
        rows, first = slice(start, start + step), length - q_len + start
        some, near, own = (of_queries(option, rows) for option in (q, bias, rule))
        given = Scoring(shown(mask, rows, first, (*some.shape[:-1], length)), near, left, 0, scale, softcap, own)
        lines = told(some, kv_heads, value_dim, length, given, first)
        outs.append(merged(lines, read(lines), sinks)[0].reshape(*some.shape[:-1], value_dim))
    return outs[0] if len(outs) == 1 else np.concatenate(outs, axis=-2)


def told(q: Array, kv_heads: int, value_dim: int, length: int, given: Scoring, first: int, origin: int = 0) -> Lines:
    """Returns what the kernels are told of a few queries from position `first` on, over `length` keys from position `origin` on."""
    *lead, heads, q_len, head_dim = q.shape
    lines = q_len * heads // kv_heads
    width, tile = rounded_up(lines, max(lanes(q.itemsize), ROWS)), columns(q.itemsize)
    sizes = Sizes(math.prod(lead), heads, kv_heads, q_len, length, head_dim, value_dim, length, head_dim, value_dim, width,
                  rounded_up(KV_TILE, ROWS), tile, lanes(q.itemsize))
    bias, distance = given.bias, None
    if isinstance(bias, Bias):
        distance, bias = distances(bias, heads, q_len, length, q.dtype), None
    full = (*q.shape[:-1], length)
    seen = seen_of(given.mask, given.left, given.right, full, sizes)
    options = Options(given.mask, given.left, given.right, given.scale, given.softcap, False)
    rules, *arrays = scoring(options, seen, bias, distance, full, q.dtype)
    mask, mask_at, numbers, numbers_at, far = arrays[LISTS:]
    # The kernels name keys by their positions, and the first key of a mask or bias is the one at `origin`.
    places = mask, mask_at - origin * rules.mask_column, numbers, numbers_at - origin * rules.bias_column, far
    queries = np.zeros((sizes.batch * kv_heads, width, head_dim), q.dtype)
    np.multiply(q.reshape(-1, lines, head_dim), q.dtype.type(rules.factor), out=queries[:, :lines])
    return Lines(sizes, (sizes, rules, *places, *of_lines(given.rule, full, kv_heads, q.dtype)), queries, first, seen.left, seen.right)


def of_queries(option: Any, rows: slice) -> Any:
    """Returns the part for some queries of arrays that broadcast to the scores, and anything else as it is."""
    if isinstance(option, ScoreRule):
        return with_parts(option, lambda x: of_queries(x, rows))
    return option[..., rows, :] if isinstance(option, np.ndarray) and option.ndim > 1 and option.shape[-2] > 1 else option


def shown(mask: Array | Pattern | None, rows: slice, first: int, full: tuple[int, ...]) -> Array | None:
    """Returns the mask of some queries, the first of them at position `first`, as an array that broadcasts to their scores."""
    if not isinstance(mask, Pattern):
        return of_queries(mask, rows)  # type: ignore[no-any-return]
    seen = mask.visible(np.arange(first, first + full[-2]), np.arange(full[-1]))
    check_broadcast("mask", seen.shape, full)
    return seen


def merged(lines: Lines, partials: Sequence[PartialSums], sinks: Array | None) -> tuple[Array, Array]:
    """Returns the results of all chunks as one, a sink last: values [kv head][line][value_dim], and the lse of each."""
    sizes, dtype = lines.sizes, lines.queries.dtype
    values, top, total = partials[0] if len(partials) == 1 else (np.concatenate(part, axis=1) for part in zip(*partials, strict=True))
    logits = np.zeros(0, dtype) if sinks is None else np.repeat(np.tile(sinks, sizes.batch), sizes.q_len)
    out, lse = np.empty((len(values), values.shape[2], sizes.value_dim), dtype), np.empty(top[:, 0].size, dtype)
    join(values.shape[1], values.shape[2], sizes.value_dim, logits, values.reshape(-1), top.reshape(-1), total.reshape(-1),
         out.reshape(-1), lse)
    return out, lse


def flat(partial: PartialSums) -> Iterator[Array]:
    """Yields the arrays of a partial result as the kernels fill them."""
    return (array.reshape(-1) for array in partial)


def side_by_side(lines: Lines, keys: Array, values: Array, origin: int) -> PartialSums:
    """Returns the partial results of keys (..., kv_heads, n, d) at the positions from `origin` on."""
    sizes, first = lines.sizes, lines.first
    # Only what some query sees is read: NaN outside would otherwise be multiplied by a weight of 0.
    low, high = max(0, first - lines.left - origin), max(0, min(keys.shape[-2], first + sizes.q_len + lines.right - origin))
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


def attention_with_lse(q: Array, k: Array, v: Array, given: Scoring, sinks: Array | None, origin: int) -> tuple[Array, Array]:
    """Returns (out, lse) of a few queries, the last of which stands where the last key does, over keys from `origin` on.

    >>> x = np.ones((1, 8, 16))
    >>> out, lse = attention_with_lse(x[:, 7:], x, x, Scoring(None, None, None, None, 1.0, None, None), None, 0)
    >>> out[0, 0, :2], lse.round(2)
    (array([1., 1.]), array([[18.08]]))
    """
    length, shape = k.shape[-2], q.shape[:-1]
    lines = told(q, k.shape[-3], v.shape[-1], length, given, origin + length - q.shape[-2], origin)
    out, lse = merged(lines, [side_by_side(lines, k, v, origin)], sinks)
    return out.reshape(*shape, v.shape[-1]), lse.reshape(shape)
