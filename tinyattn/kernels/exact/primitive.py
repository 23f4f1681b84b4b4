"""Exact attention on plain arrays, forward and backward joined into one primitive of the engine."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact.backward import backward
from tinyattn.kernels.exact.counted import counting
from tinyattn.kernels.exact.decode import decode, join
from tinyattn.kernels.exact.forward import forward
from tinyattn.kernels.exact.line_rules import of_lines
from tinyattn.kernels.exact.one_tile_calls import fits, pull_one_tile, solve_one_tile
from tinyattn.kernels.exact.scores import Rules
from tinyattn.kernels.exact.tasks import TASKS, shares_of
from tinyattn.kernels.rules.tiles import SPARE, Compiled, arguments_of
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.listed import LISTS, all_see_themselves
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.seen import Seen, seen_edges, seen_of
from tinyattn.kernels.tiles.storage import Sizes, all_finite, filled, nothing, padded, places, rounded_up, rows_of, sizes_of, work
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.checks import check_broadcast
from tinyattn.ops.masks import Pattern
from tinyattn.ops.types import Array


class Options(NamedTuple):
    """The options of a call that have no gradient, checked; `learned` is whether the bias wants one, `rule` a score rule."""

    mask: Array | Pattern | None
    left: int | None
    right: int | None
    scale: float
    softcap: float | None
    learned: bool
    rule: Compiled | None = None


class Saved(NamedTuple):
    """What the backward reads."""

    options: Options
    sizes: Sizes
    seen: Seen
    arrays: tuple[Array, Array, Array]
    bias: Array | None
    distance: Array | None
    sinks: Array | None
    out: Array
    tops: Array | None
    totals: Array | None
    values: Array | None = None
    embedding: Array | None = None
    counts: Array | None = None


def scoring(options: Options, seen: Seen, bias: Array | None, distance: Array | None, full: tuple[int, ...],
            dtype: Any) -> tuple[Any, ...]:
    """Returns the rules by which products become scores, and the arrays they name, in the order of the kernels."""
    softcap = options.softcap
    factor = options.scale if softcap is None else options.scale / softcap
    held = nothing(dtype) if bias is None else places(bias, full)
    far = np.zeros(0, dtype) if distance is None else np.require(distance, requirements=["C", "W"]).reshape(-1)
    rules = Rules(factor, softcap or 0.0, seen.left, seen.right, seen.tiles.heads.size > 0, seen.mask.start.size > 0,
                  bias is not None, distance is not None, seen.mask.row, seen.mask.column, held.row, held.column)
    return rules, *seen.tiles, seen.mask.values, seen.mask.start, held.values, held.start, far


def blank_hidden(q: Array, k: Array, v: Array, options: Options, full: tuple[int, ...],
                 seen: Seen | None = None) -> tuple[Array, Array, Array]:
    """Returns q, k, v with 0 in every query that sees no key and every key or value that no query of its head sees.

    A hidden slot may hold NaN or inf, and 0 * NaN is NaN in a product. What is finite needs no blanking, and a sum
    tells: it is the only pass over the arrays, and only where something can be hidden. What is `seen` may say that nothing is.
    """
    if full[-2] <= full[-1] and options.mask is None:
        return q, k, v
    listed = isinstance(options.mask, Pattern) and full[-2] == full[-1]
    if (seen and listed and all_see_themselves(seen.tiles, full[-1], sizes_of(q, k, v))) or all_finite(q, k, v):
        return q, k, v
    sees, used = seen_edges(options.mask, options.left, options.right, full, k.shape[-3])
    return np.where(sees[..., None], q, 0), np.where(used[..., None], k, 0), np.where(used[..., None], v, 0)


@once
@primitive
def attention_with_lse(q: Array, k: Array, v: Array, bias: Array | None, distance: Array | None, sinks: Array | None,
                       options: Options, values: Array | None = None,
                       embedding: Array | None = None) -> tuple[tuple[Array, Array], Saved]:
    """Returns ((out, lse), what the backward reads) of plain arrays (..., heads, length, dim).

    `values` are the parameters of the score rule, one after the other, `embedding` (positions, head_dim) the vectors of
    contextual positions.
    """
    full = (*q.shape[:-1], k.shape[-2])
    sizes = sizes_of(q, k, v)
    if few(sizes) and options.rule is None and embedding is None:
        return decoded(*blank_hidden(q, k, v, options, full), bias, distance, sinks, options, full, sizes)
    seen = seen_of(options.mask, options.left, options.right, full, sizes)
    q, k, v = blank_hidden(q, k, v, options, full, seen)
    counts = np.empty(0 if embedding is None else (*full[:-1], 3))
    out, lse, tops, totals = tiled((q, k, v), bias, distance, sinks, options, seen, full, sizes, values, embedding, counts)
    return (out, lse), Saved(options, sizes, seen, (q, k, v), bias, distance, sinks, out, tops, totals, values, embedding, counts)


def tiled(arrays: tuple[Array, Array, Array], bias: Array | None, distance: Array | None, sinks: Array | None,
          options: Options, seen: Seen, full: tuple[int, ...], sizes: Sizes, values: Array | None = None,
          embedding: Array | None = None, counts: Array | None = None) -> tuple[Array, Array, Array, Array]:
    """Returns out, lse, and each row's largest score and sum of exponentials below it, by tiles of queries."""
    dtype = arrays[0].dtype
    out, tops, totals = pages.empty((*full[:-1], sizes.value_dim), dtype), pages.empty(full[:-1], dtype), pages.empty(full[:-1])
    logits = np.zeros(0, dtype) if sinks is None else np.require(sinks, requirements=["C", "W"])
    rules, *places_of = scoring(options, seen, bias, distance, full, dtype)
    rest = (*filled(*arrays, sizes), out.reshape(-1), tops.reshape(-1), totals.reshape(-1))
    if fits(sizes, rules) and options.rule is None and embedding is None:
        solve_one_tile(sizes, rules, places_of, logits, *rest)
    else:
        run(forward, sizes.batch * sizes.heads * -(-sizes.q_len // sizes.q_tile), work(sizes), sizes, rules, *places_of, logits,
            *arguments_of(options.rule, values, dtype), *counting(embedding, counts, sizes, dtype), *rest)
    with np.errstate(divide="ignore", invalid="ignore"):
        lse = np.log(totals) + tops
    return out, lse.astype(dtype, copy=False), tops, totals


# A few lines against at least this many keys: below, a tile product does as well.
LEAST_KEYS, MOST_LINES, CHUNK = 128, 16, 1024


def few(sizes: Sizes) -> bool:
    """Returns whether a call is a decoding step of sizes that its kernel reads in place."""
    lines = sizes.q_len * (sizes.heads // max(sizes.kv_heads, 1))
    return (sizes.kv_len >= LEAST_KEYS and 0 < lines <= MOST_LINES and sizes.head_dim % sizes.lanes == 0
            and 0 < sizes.value_dim == sizes.value_width)


def decoded(q: Array, k: Array, v: Array, bias: Array | None, distance: Array | None, sinks: Array | None, options: Options,
            full: tuple[int, ...], sizes: Sizes) -> tuple[tuple[Array, Array], Saved]:
    """Returns what `attention_with_lse` returns, keys split over tasks and their partial results merged."""
    if isinstance(options.mask, Pattern):
        dense = options.mask.dense(*full[-2:])
        check_broadcast("mask", dense.shape, full)
        options = options._replace(mask=dense)
    lines = sizes.q_len * sizes.heads // sizes.kv_heads
    width = rounded_up(lines, max(sizes.lanes, ROWS))
    seen = seen_of(options.mask, options.left, options.right, full, sizes)
    rules, *arrays = scoring(options, seen, bias, distance, full, q.dtype)
    count = sizes.batch * sizes.kv_heads
    padded_q = np.zeros((count, width, sizes.head_dim), q.dtype)
    np.multiply(q.reshape(count, lines, sizes.head_dim), q.dtype.type(rules.factor), out=padded_q[:, :lines])
    chunks = -(-sizes.kv_len // CHUNK)
    part = np.empty((count, chunks, lines, sizes.value_dim), q.dtype)
    top, total = np.empty((count, chunks, lines), q.dtype), np.empty((count, chunks, lines))
    out, lse = np.empty((*q.shape[:-1], sizes.value_dim), q.dtype), np.empty(q.shape[:-1], q.dtype)
    logits = np.zeros(0, q.dtype) if sinks is None else np.repeat(np.tile(sinks, sizes.batch), sizes.q_len)
    run(decode, count * chunks, 4 * work(sizes), chunks, sizes.kv_len, 0, sizes.kv_len - sizes.q_len,
        sizes._replace(q_tile=width), rules, *arrays[LISTS:], *of_lines(None, full, sizes.kv_heads, q.dtype), padded_q.reshape(-1),
        *rows_of(k), *rows_of(v), part.reshape(-1), top.reshape(-1), total.reshape(-1))
    join(chunks, lines, sizes.value_dim, logits, part.reshape(-1), top.reshape(-1), total.reshape(-1), out.reshape(-1),
         lse.reshape(-1))
    return (out, lse), Saved(options, sizes, seen, (q, k, v), bias, distance, sinks, out, None, None)


@attention_with_lse.backward_giving
def _(d_outs: tuple[Array, Array], saved: Saved) -> dict[str, Array | None]:
    return pulled(d_outs, saved, whole=True)


def pulled(d_outs: tuple[Array, Array], saved: Saved, whole: bool, beside: int = 1) -> dict[str, Array | None]:
    """Returns the gradients by argument; `whole` is whether the keys are all that the queries see, and not a part of them.

    `beside` is how many such calls share the threads: each then needs so many times fewer tasks, and copies of d_k and d_v.
    """
    sizes, options = saved.sizes, saved.options
    q, k, v = filled(*saved.arrays, sizes)
    out, tops, totals, (d_out, d_lse) = saved.out, saved.tops, saved.totals, d_outs
    dtype, lead, full = q.dtype, out.shape[:-3], (*out.shape[:-1], sizes.kv_len)
    if tops is None or totals is None:
        # Decoding sums products in another order, and a top must be the largest of the very scores that stand here.
        out, _, tops, totals = tiled(saved.arrays, saved.bias, saved.distance, saved.sinks, options, saved.seen, full, sizes,
                                      saved.values)
    rules, *arrays = scoring(options, saved.seen, saved.bias, saved.distance, full, dtype)
    learned, counted = options.learned and sizes.batch * sizes.kv_heads > 0, 0 if saved.values is None else saved.values.size
    adds = counted > 0 or saved.embedding is not None or (learned and saved.distance is not None)
    bias = saved.bias.shape if learned and saved.bias is not None else None
    splits, slots, of_bias = shares_of(sizes, beside, adds=adds, bias=bias, full=full)
    slots, copies = (slots, 1) if options.rule is None else options.rule.copies(slots)
    d_values = np.zeros((copies, counted + SPARE))
    positions, embedding, counts = counting(saved.embedding, saved.counts, sizes, dtype)
    d_embedding = np.zeros((slots, 0 if embedding is None else embedding.size), dtype)
    d_bias = pages.zeros((min(of_bias, slots), arrays[LISTS + 2].size), dtype)
    d_distance = np.zeros((slots, arrays[LISTS + 4].size if learned else 0), dtype)
    d_q, delta = pages.empty((*full[:-1], sizes.head_dim), dtype), pages.empty(full[:-1], dtype)
    one_tile = whole and fits(sizes, rules) and options.rule is None and saved.embedding is None
    d_k, d_v = ((pages.empty if one_tile else pages.zeros)((splits, *lead, sizes.kv_heads, sizes.kv_len, width), dtype)
                for width in (sizes.head_width, sizes.value_width))
    rows = (q, k, v, out.reshape(-1), tops.reshape(-1), totals.reshape(-1), padded(d_out, sizes.q_len, sizes.value_width),
            padded(d_lse[..., None], sizes.q_len, 1), d_q.reshape(-1), d_k.reshape(-1), d_v.reshape(-1), delta.reshape(-1))
    if one_tile:
        d_bias = pull_one_tile(sizes, rules, arrays, TASKS if learned else 0, options.scale, *rows[:3], *rows[4:])
    else:
        run(backward, slots, 3 * work(sizes), slots, splits, whole, sizes, rules, *arrays, options.scale,
            *arguments_of(options.rule, saved.values, dtype, backward=True), d_values.reshape(-1),
            0 if copies == 1 else d_values.shape[1], positions, embedding, counts, d_embedding.reshape(-1), d_embedding.shape[1],
            *rows, d_bias.reshape(-1), d_bias.shape[1] if of_bias > 1 else 0, d_distance.reshape(-1), d_distance.shape[1])
    d_k, d_v = d_k[..., : sizes.head_dim], d_v[..., : sizes.value_dim]
    d_k, d_v = (np.ascontiguousarray(x[0]) if splits == 1 else x.sum(axis=0) for x in (d_k, d_v))
    gradients: dict[str, Array | None] = {"q": d_q, "k": d_k, "v": d_v}
    if saved.sinks is not None:
        shift = np.where(np.isneginf(tops), dtype.type(0), tops)
        share = np.exp(saved.sinks[:, None] - shift) / np.where(totals == 0, 1, totals) * delta
        gradients["sinks"] = -share.sum(axis=(*range(share.ndim - 2), -1)).astype(dtype)
    if learned and saved.bias is not None:
        shape, total = saved.bias.shape, d_bias[0] if len(d_bias) == 1 else d_bias.sum(axis=0)
        total = total.reshape(*shape[:-2], shape[-1], shape[-2]).mT if rules.bias_column > 1 else total.reshape(shape)
        gradients["bias"] = np.ascontiguousarray(total)
    if learned and saved.distance is not None:
        gradients["distance"] = d_distance.sum(axis=0).reshape(saved.distance.shape)
    if saved.embedding is not None:
        gradients["embedding"] = d_embedding.sum(axis=0).reshape(-1, max(sizes.head_width, 1))[:positions, : sizes.head_dim]
    if saved.values is not None:
        gradients["values"] = (d_values[0] if copies == 1 else d_values.sum(axis=0))[:counted].astype(dtype)
    return gradients


def part_gradients(q: Array, k: Array, v: Array, out: Array, lse: Array, d_out: Array, d_lse: Array,
                   options: Options) -> tuple[Array, Array, Array]:
    """Returns what a part of the keys adds to d_q, and its own d_k and d_v.

    (out, lse) are the results of all keys. exp(score - lse) are then the weights, so that the largest score and the sum of
    exponentials of these keys alone are not needed.
    """
    full = (*q.shape[:-1], k.shape[-2])
    sizes = sizes_of(q, k, v)
    seen = seen_of(options.mask, options.left, options.right, full, sizes)
    q, k, v = blank_hidden(q, k, v, options, full, seen)
    tops = np.ascontiguousarray(lse, q.dtype)
    with np.errstate(invalid="ignore"):
        totals = np.where(np.isneginf(lse), 0.0, np.exp(lse - tops))
    saved = Saved(options, sizes, seen, (q, k, v), None, None, None, np.ascontiguousarray(out), tops, totals)
    gradients: Any = pulled((d_out, d_lse), saved, whole=False)
    return gradients["q"], gradients["k"], gradients["v"]
