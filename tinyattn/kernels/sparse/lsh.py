"""LSH attention: tokens sorted by a hash, the exact kernel on the tiles of their chunks, and the hashes merged."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.arguments import bare
from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.rules.tiles import Compiled, compiled_rule, flat
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.rows import add_rearranged, by_head, rearranged
from tinyattn.kernels.tiles.seen import seen_of
from tinyattn.kernels.tiles.storage import sizes_of
from tinyattn.kernels.tiles.threads import each
from tinyattn.ops.arguments import SELF, check_rotations
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.norm import unit
from tinyattn.ops.options import check_causal, check_scale
from tinyattn.ops.score_rule import ScoreRule, check_score
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(i,e)->(i,e)")
def lsh_attention(qk: Array, v: Array, *, rotations: Array, chunk: int, causal: bool = False, scale: float | None = None) -> Array:
    """Returns attention within buckets of similar tokens: the keys are the queries at length 1; compiled.

    Shapes: qk (..., heads, i, d), v (..., heads, i, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.lsh_attention`.

    Paper: Kitaev et al. 2020, arXiv:2001.04451.

    >>> x = np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
    >>> lsh_attention(x, x, rotations=np.array([[[1.0], [0.0]]]), chunk=4)[:, 0]
    array([ 2.,  1., -1.])
    """
    chunk, scale, is_causal = whole("chunk", chunk, 1), check_scale(scale, qk.shape[-1]), check_causal(causal)
    rotations = check_rotations(rotations, qk)
    if not qk.shape[-2]:
        return v
    return hashed(qk, unit(qk), v, bare(rotations), min(chunk, qk.shape[-2]), is_causal, scale)


class Hash(NamedTuple):
    """The order (..., heads, length) that sorts the tokens by one hash, and the rule that hides the keys of other buckets."""

    order: Array
    rule: Compiled


class Saved(NamedTuple):
    """What the backward reads; out, tops and totals are those of all hashes together."""

    options: exact.Options
    arrays: tuple[Array, Array, Array]
    hashes: list[Hash]
    out: Array
    tops: Array
    totals: Array


@once
@primitive
def hashed(q: Array, k: Array, v: Array, rotations: Array, chunk: int, is_causal: bool, scale: float) -> tuple[Array, Saved]:
    """Returns the attention of all hashes together, and what the backward reads. It sorts once more, and keeps no sorted array.

    Hashes are merged by each row's largest score and the sum of exponentials below it, not by the log of the whole sum: the
    score of a token that sees only itself is near -1e5, and float32 would keep two digits of a log that is added to it.
    """
    options = exact.Options(own_and_before(chunk), None, 0 if is_causal else None, scale, None, False)
    full, sizes = (*q.shape[:-1], k.shape[-2]), sizes_of(q, k, v)
    seen = seen_of(options.mask, options.left, options.right, full, sizes)
    hashes = [sorted_by_bucket(q @ rotation, full) for rotation in rotations]
    out, tops, totals = np.zeros(v.shape, v.dtype), np.full(v.shape[:-1], -np.inf, v.dtype), np.zeros(v.shape[:-1])
    for order, rule in hashes:
        arrays = rearranged(q, order), rearranged(k, order), rearranged(v, order)
        part, _, top, total = exact.tiled(arrays, None, None, None, options._replace(rule=rule), seen, full, sizes,
                                          flat(rule.rule, v.dtype))
        merge_into(out, tops, totals, order, part, top, total)
    return out, Saved(options, (q, k, v), hashes, out, tops, totals)


@hashed.backward
def _(d_out: Array, saved: Saved) -> dict[str, Array]:
    options, (q, k, v), out, none = saved.options, saved.arrays, saved.out, np.zeros_like(saved.tops)
    full, sizes = (*q.shape[:-1], k.shape[-2]), sizes_of(q, k, v)
    seen = seen_of(options.mask, options.left, options.right, full, sizes)
    gradients = {name: np.zeros(x.shape, x.dtype) for name, x in (("q", q), ("k", k), ("v", v))}
    for order, rule in saved.hashes:
        arrays = rearranged(q, order), rearranged(k, order), rearranged(v, order)
        top, total = (np.take_along_axis(x, order, axis=-1) for x in (saved.tops, saved.totals))
        of_hash = exact.Saved(options._replace(rule=rule), sizes, seen, arrays, None, None, None, rearranged(out, order), top, total,
                              flat(rule.rule, v.dtype))
        found: Any = exact.pulled((rearranged(d_out, order), none), of_hash, whole=False)
        for name, gradient in gradients.items():
            add_rearranged(gradient, order, found[name])
    return gradients


def merge_into(out: Array, tops: Array, totals: Array, order: Array, part: Array, top: Array, total: Array) -> None:
    """Merges the sorted results of one hash into those of the hashes before it, which stand in the order of the text."""
    outs, parts = by_head(out), by_head(part)
    all_tops, all_totals, orders, new_tops, new_totals = (by_head(x, 1) for x in (tops, totals, order, top, total))

    def task(n: int) -> None:
        at = orders[n]
        old = all_tops[n][at]
        both = np.maximum(old, new_tops[n])
        shift = np.where(np.isneginf(both), 0, both)
        with np.errstate(invalid="ignore"):
            mass, more = all_totals[n][at] * np.exp(old - shift), new_totals[n] * np.exp(new_tops[n] - shift)
            whole = mass + more
            share, rest = ((x / np.where(whole == 0, 1, whole)).astype(out.dtype)[:, None] for x in (mass, more))
            outs[n][at] = outs[n][at] * share + parts[n] * rest
        all_tops[n][at], all_totals[n][at] = both, whole

    each(task, len(outs), out.size)


def sorted_by_bucket(sides: Array, full: tuple[int, ...]) -> Hash:
    """Returns the order of one hash, and the rule of its buckets; sides (..., heads, length, directions) are products with them.

    Sorted by bucket, then by position, the tokens of a bucket stand next to each other, the earlier ones first: what a token
    sees is a range of places, and a token sees no later place where it sees no later token.
    """
    heads = by_head(sides)
    order, edges = np.empty(heads.shape[:-1], np.int64), np.empty((2, *heads.shape[:-1]), sides.dtype)

    def task(n: int) -> None:
        bucket = buckets_of(heads[n])
        order[n] = np.argsort(bucket, kind="stable")
        edges[:, n] = ends_of_runs(bucket[order[n]])

    each(task, len(heads), sides.size)
    rule: Any = check_score(ScoreRule(within_bucket, *edges.reshape(2, *full[:-1], 1)), full, sides.dtype)
    return Hash(order.reshape(full[:-1]), compiled_rule(rule, full, sides.dtype))


def buckets_of(sides: Array) -> Array:
    """Returns the bucket of each token, argmax [x R ; -x R], from its products (length, directions) with those of a hash."""
    rows, count = np.arange(len(sides)), sides.shape[-1]
    high, low = np.argmax(sides, axis=-1), np.argmin(sides, axis=-1)
    bucket = np.where(-sides[rows, low] > sides[rows, high], low + count, high)
    # NumPy sorts 16 bits by counting, five times as fast as it compares numbers of 64 bits.
    return bucket.astype(np.uint16) if 2 * count <= 1 << 16 else bucket


def within_bucket(s: Array, i: Array, j: Array, first: Array, last: Array) -> Array:
    """Returns the scores, -inf outside of the range of places that are a token's bucket; its own score is far lower."""
    return np.where((j >= first) & (j <= last), np.where(i == j, s - SELF, s), -np.inf)


def ends_of_runs(x: Array) -> list[Array]:
    """Returns for each entry of a sorted array (length,) the first and the last place of those that are equal to it."""
    edges = np.concatenate(([0], np.flatnonzero(x[1:] != x[:-1]) + 1, [len(x)]))
    return [np.repeat(ends, np.diff(edges)) for ends in (edges[:-1], edges[1:] - 1)]


@lru_cache(maxsize=16)
def own_and_before(chunk: int) -> Pattern:
    """Returns whether the key stands in the query's chunk or in the one before."""
    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        i0, i1, j0, j1 = (x // chunk for x in (i0, i1, j0, j1))
        return (j1 >= i0 - 1) & (j0 <= i1), (j0 >= i1 - 1) & (j1 <= i0)

    return Constant(Pattern(lambda i, j: (j // chunk <= i // chunk) & (j // chunk >= i // chunk - 1), corners=corners))
