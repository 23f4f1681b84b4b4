"""Attention whose weights are no softmax: a block of rows at a time in NumPy, so that memory grows with the keys of one block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact.primitive import Options, blank_hidden
from tinyattn.kernels.tiles.rows import again
from tinyattn.kernels.tiles.threads import each
from tinyattn.ops.bias import Bias
from tinyattn.ops.options import blank_unseen, visible_keys
from tinyattn.ops.scores import scores_of, weighted_values
from tinyattn.ops.tiles import seen_tile
from tinyattn.ops.types import Array

# Scores of one block of rows of a key head: with this many they stay in a core's own cache.
BLOCK = 1 << 17


class Weighing(NamedTuple):
    """How scores, -inf where hidden, become weights.

    `form(scores)` gives (weights, rest) by functions that have rules, rest one number per row; `backward(scores, d_weights,
    d_rest)` gives the gradient of the scores.
    """

    form: Callable[[Array], tuple[Array, Array]]
    backward: Callable[[Array, Array, Array], Array]


class Block(NamedTuple):
    """The rows start to stop of all heads, the keys low to high that they may see, and which of them they do."""

    start: int
    stop: int
    low: int
    high: int
    seen: Array | None


def weighed(q: Array, k: Array, v: Array, bias: Array | None, weighing: Weighing, options: Options) -> tuple[Array, Array]:
    """Returns (out, rest) by weights of this kind, of which a bias that is learned makes the whole square exist."""
    learned = bias is not None and not isinstance(bias, np.ndarray)
    whole = learned or not (q.size and k.size and v.size)
    return (weighed_in_numpy if whole else weighed_by_rows)(q, k, v, bias, weighing, options)


def weighed_in_numpy(q: Array, k: Array, v: Array, bias: Array | Bias | None, weighing: Weighing,
                     options: Options) -> tuple[Array, Array]:
    """Returns the same by functions that have rules."""
    visible = visible_keys(options.mask, False, (options.left, options.right), (*q.shape[:-1], k.shape[-2]))
    q, k, v = blank_unseen(q, k, v, visible)
    scores = scores_of(q, k, scale=options.scale, softcap=options.softcap, bias=bias, visible=visible)
    weights, rest = weighing.form(scores)
    return weighted_values(weights, v), rest


@again(weighed_in_numpy)
@primitive
def weighed_by_rows(q: Array, k: Array, v: Array, bias: Array | None, weighing: Weighing,
                    options: Options) -> tuple[tuple[Array, Array], Any]:
    """Returns ((out, rest), what the backward reads) of plain arrays."""
    q, k, v = blank_hidden(q, k, v, options, (*q.shape[:-1], k.shape[-2]))
    out, rest = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype), np.zeros(q.shape[:-1], q.dtype)
    by_head, shape = (lambda x: grouped(x, k)), (*k.shape[:-2], q.shape[-3] // k.shape[-3])
    queries, outs, rests = by_head(q), by_head(out), by_head(rest[..., None])
    keys, values = (x.reshape(-1, *x.shape[-2:]) for x in (k, v))
    for block in blocks(q, k, options):
        def task(n: int, block: Block = block) -> None:
            rows, some = np.s_[:, block.start : block.stop], np.s_[block.low : block.high]
            scores = block_scores(queries[n][rows], keys[n][some], bias, block, n, shape, options)[0]
            weights, left = weighing.form(scores)
            outs[n][rows] = weights @ values[n][some]
            rests[n][rows] = left[..., None]

        each(task, len(keys), (block.stop - block.start) * (block.high - block.low) * q.shape[-3])
    return (out, rest), (q, k, v, bias, weighing, options)


@weighed_by_rows.backward
def _(d_outs: tuple[Array, Array], saved: Any) -> dict[str, Array]:
    (d_out, d_rest), (q, k, v, bias, weighing, options) = d_outs, saved
    d_q, d_k, d_v = (np.zeros(x.shape, x.dtype) for x in (q, k, v))  # in C order, so that reshape gives views
    shape = (*k.shape[:-2], q.shape[-3] // k.shape[-3])
    queries, d_queries, slopes, d_rests = (grouped(x, k) for x in (q, d_q, d_out, d_rest[..., None]))
    keys, values, d_keys, d_values = (x.reshape(-1, *x.shape[-2:]) for x in (k, v, d_k, d_v))
    scale = q.dtype.type(options.scale)
    for block in blocks(q, k, options):
        def task(n: int, block: Block = block) -> None:
            rows, some = np.s_[:, block.start : block.stop], np.s_[block.low : block.high]
            scores, capped = block_scores(queries[n][rows], keys[n][some], bias, block, n, shape, options)
            weights, slope = weighing.form(scores)[0], slopes[n][rows]
            d_scores = weighing.backward(scores, slope @ values[n][some].mT, d_rests[n][rows][..., 0])
            d_values[n][some] += np.einsum("grk,gre->ke", weights, slope, optimize=True)
            if capped is not None:
                d_scores = d_scores * (1 - capped * capped)
            d_queries[n][rows] = d_scores @ keys[n][some] * scale
            d_keys[n][some] += np.einsum("grk,grd->kd", d_scores, queries[n][rows], optimize=True) * scale

        each(task, len(keys), (block.stop - block.start) * (block.high - block.low) * q.shape[-3])
    return {"q": d_q, "k": d_k, "v": d_v}


def grouped(x: Array, k: Array) -> Array:
    """Returns (..., heads, length, width) as a view (leading axes times kv_heads, heads of a group, length, width)."""
    count = int(np.prod(k.shape[:-2]))
    return x.reshape(count, x.shape[-3] // k.shape[-3], *x.shape[-2:])


def blocks(q: Array, k: Array, options: Options) -> Iterator[Block]:
    """Yields blocks of rows that see a key."""
    full, groups = (*q.shape[:-1], k.shape[-2]), q.shape[-3] // k.shape[-3]
    q_len, kv_len = full[-2:]
    step, first = max(8, BLOCK // (groups * kv_len)), kv_len - q_len
    for start in range(0, q_len, step):
        stop = min(start + step, q_len)
        low = 0 if options.left is None else max(0, first + start - options.left)
        high = kv_len if options.right is None else min(kv_len, first + stop + options.right)
        if low < high:
            positions, keys = np.arange(first + start, first + stop), np.arange(low, high)
            mask = options.mask
            if isinstance(mask, np.ndarray) and mask.ndim > 1 and mask.shape[-2] > 1:
                mask = mask[..., start:stop, :]
            hidden = mask is not None or options.left is not None or options.right is not None
            rows = (*full[:-2], stop - start, kv_len)
            seen = seen_tile(mask, options.left, options.right, positions, keys, rows) if hidden else None
            yield Block(start, stop, low, high, seen)


def part(x: Array, n: int, shape: tuple[int, ...]) -> Array:
    """Returns the part of an array that broadcasts to (..., heads, rows, keys) which belongs to key head n: (group, rows, keys).

    `shape` is (leading axes, kv_heads, heads of a group).
    """
    *lead, head = np.unravel_index(n, shape[:-1])
    wide = x.reshape((1,) * (len(shape) + 1 - x.ndim) + x.shape)
    at = tuple(int(i) if size > 1 else 0 for i, size in zip(lead, wide.shape, strict=False))
    mine = np.s_[int(head) * shape[-1] : (int(head) + 1) * shape[-1]] if wide.shape[len(lead)] > 1 else np.s_[:]
    taken: Array = wide[(*at, mine)]
    return taken


def block_scores(q: Array, k: Array, bias: Array | None, block: Block, n: int, shape: tuple[int, ...],
                 options: Options) -> tuple[Array, Array | None]:
    """Returns the scores (group, rows, keys) of a block of key head n, -inf where hidden, and the tanh of capped ones."""
    scores = (q * q.dtype.type(options.scale)) @ k.mT
    capped = None
    if options.softcap is not None:
        capped = np.tanh(scores / q.dtype.type(options.softcap))
        scores = capped * q.dtype.type(options.softcap)
    if bias is not None:
        mine = part(np.atleast_1d(bias), n, shape)
        if mine.ndim > 1 and mine.shape[-2] > 1:
            mine = mine[..., block.start : block.stop, :]
        scores = scores + (mine[..., block.low : block.high] if mine.shape[-1] > 1 else mine)
    return scores if block.seen is None else np.where(part(block.seen, n, shape), scores, q.dtype.type(-np.inf)), capped
