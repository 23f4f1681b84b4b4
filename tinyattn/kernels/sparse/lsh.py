"""LSH attention: tokens sorted by a hash, the exact kernel on some of their chunks at a time, and the hashes merged."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.arguments import bare
from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.exact.tasks import TASKS
from tinyattn.kernels.rules.tiles import compiled_rule
from tinyattn.kernels.softmax.part import Call, Results, call_of
from tinyattn.kernels.sparse.hashes import Hash, sorted_by_buckets
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.rows import by_head, each_part, rows_put, rows_taken
from tinyattn.ops.arguments import SELF, check_rotations
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.norm import exact as nothing_lost
from tinyattn.ops.norm import magnitude
from tinyattn.ops.options import check_causal, check_scale
from tinyattn.ops.score_rule import ScoreRule, check_score
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

# Numbers of the queries of one part.
TOGETHER = 1 << 18


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
    return hashed(qk, v, bare(rotations), min(chunk, qk.shape[-2]), is_causal, scale)


class Part(NamedTuple):
    """Some heads, places of queries in the order of a hash, and those of their keys: the same ones and the chunk before."""

    heads: slice
    queries: slice
    keys: slice
    call: Call

    def taken(self, x: Array, v: Array, lengths: Lengths, of: Hash) -> tuple[Array, tuple[Array, Array, Array], Array]:
        """Returns which rows the keys are, (queries, keys, values), and the parameters of the rule on scores."""
        at = of.order[self.heads, self.keys]
        rows = rows_taken(x, at)
        edges = of.edges[:, self.heads, self.queries] - self.keys.start
        arrays = np.ascontiguousarray(rows[:, self.before :]), lengths.divided(rows, at), rows_taken(v, at)
        return at, arrays, edges.reshape(-1)

    @property
    def before(self) -> int:
        """How many keys there are before the first query."""
        return self.queries.start - self.keys.start


class Lengths(NamedTuple):
    """The lengths of all rows, (rows, 1), inf for one of zeros, and powers of two to divide the rows by before, if any is needed."""

    norms: Array
    powers: Array | None

    def divided(self, rows: Array, at: Array) -> Array:
        """Returns rows that stand at some places, or what was computed from them, divided by their lengths."""
        scaled: Array = (rows if self.powers is None else rows / self.powers[at]) / self.norms[at]
        return scaled

    def pulled(self, d_keys: Array, keys: Array, at: Array) -> Array:
        """Returns the gradient of the rows from that of the keys of length 1."""
        return self.divided(d_keys - keys * np.vecdot(keys, d_keys)[..., None], at)


class Saved(NamedTuple):
    """What the backward reads; the results are those of all hashes together, a row per token of each head."""

    parts: list[list[Part]]
    x: Array
    v: Array
    lengths: Lengths
    hashes: list[Hash]
    results: Results


@once
@primitive
def hashed(x: Array, v: Array, rotations: Array, chunk: int, is_causal: bool, scale: float) -> tuple[Array, Saved]:
    """Returns the attention of all hashes together, and what the backward reads. It sorts once more, and keeps no sorted array.

    Hashes are merged by each row's largest score and the sum of exponentials below it, not by the log of the whole sum: the
    score of a token that sees only itself is near -1e5, and float32 would keep two digits of a log that is added to it.
    """
    heads, out = by_head(x), pages.zeros(v.shape, v.dtype)
    rows = flat(x), flat(v)
    results = Results(flat(out), np.full(len(rows[0]), -np.inf, x.dtype), np.zeros(len(rows[0])))
    parts = parts_of(heads, v, chunk, is_causal, scale)
    saved = Saved(parts, *rows, lengths_of(rows[0]), sorted_by_buckets(heads, rotations), results)
    for one in saved.hashes:

        def solve(part: Part, one: Hash = one) -> None:
            at, arrays, edges = part.taken(*rows, saved.lengths, one)
            merge_at(at[:, part.before :].reshape(-1), saved.results, part.call.solved(arrays, edges))

        each_part(solve, [*parts[0], *parts[1]], x.size)
    return out, saved


@hashed.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array]:
    x, v, d_rows = saved.x, saved.v, flat(d_out)
    d_x, d_v = pages.zeros(x.shape, x.dtype), pages.zeros(v.shape, v.dtype)
    for one in saved.hashes:

        def pull(part: Part, one: Hash = one) -> None:
            at, arrays, edges = part.taken(x, v, saved.lengths, one)
            own = at[:, part.before :]
            results = Results(rows_taken(saved.results.out, own), saved.results.tops[own], saved.results.totals[own])
            found = part.call.pulled(arrays, rows_taken(d_rows, own), results, edges)
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                found["k"] = saved.lengths.pulled(found["k"], arrays[1], at)
                found["k"][:, part.before :] += found["q"]
                add_at(d_x, at, found["k"])
                add_at(d_v, at, found["v"])

        # Every second part at a time: a part adds to the last chunk of the one before.
        for parts in saved.parts:
            each_part(pull, parts, x.size)
    return {"x": d_x.reshape(d_out.shape[:-1] + x.shape[-1:]), "v": d_v.reshape(d_out.shape)}


def flat(x: Array) -> Array:
    """Returns x (..., length, width) as rows."""
    return by_head(x, 1)


def lengths_of(x: Array) -> Lengths:
    """Returns the lengths of the rows of x (rows, width), which are right also where their squares overflow or underflow."""
    square, powers = np.vecdot(x, x)[:, None], None
    if not nothing_lost(square, 0.0, x):
        powers = magnitude(x, 0.0)
        scaled = x / powers
        square = np.vecdot(scaled, scaled)[:, None]
    return Lengths(np.where(square == 0, np.inf, np.sqrt(square)).astype(x.dtype), powers)


def parts_of(x: Array, v: Array, chunk: int, is_causal: bool, scale: float) -> list[list[Part]]:
    """Returns the parts of x (heads, length, width), first every second one of a head, then the others; shapes alone say where to cut.

    A part takes as many heads as the backward has tasks: the gradients of the keys of fewer would be summed from copies.
    """
    count, length, width = x.shape
    parts: tuple[list[Part], list[Part]] = ([], [])
    together = max(1, min(TASKS, TOGETHER // (chunk * max(width, 1))))
    step = max(1, TOGETHER // (together * max(width, 1)) // chunk) * chunk
    calls: dict[tuple[int, ...], Call] = {}
    options = exact.Options(own_and_before(chunk), None, 0 if is_causal else None, scale, None, False)
    for head in range(0, count, together):
        for n, start in enumerate(range(0, length, step)):
            stop, first = min(start + step, length), max(0, start - chunk)
            full = (min(together, count - head), stop - start, stop - first)
            if full not in calls:
                calls[full] = call_of_part(options, full, x, v)
            parts[n % 2].append(Part(slice(head, head + full[0]), slice(start, stop), slice(first, stop), calls[full]))
    return list(parts)


def call_of_part(options: exact.Options, full: tuple[int, ...], x: Array, v: Array) -> Call:
    """Returns what the exact kernel reads of the parts that have scores of one shape."""
    heads, queries, keys = full
    rule: Any = check_score(ScoreRule(within_bucket, *np.zeros((2, heads, queries, 1), x.dtype)), full, x.dtype)
    return call_of(options._replace(rule=compiled_rule(rule, full, x.dtype)), x.dtype, (heads, queries, x.shape[-1]),
                   (heads, keys, x.shape[-1]), (heads, keys, v.shape[-1]))


def merge_at(at: Array, results: Results, part: Results) -> None:
    """Merges the results of some rows by one hash into those by the hashes before it."""
    out, tops, totals = flat(part.out), part.tops.reshape(-1), part.totals.reshape(-1)
    old = results.tops[at]
    both = np.maximum(old, tops)
    shift = np.where(np.isneginf(both), 0, both)
    with np.errstate(invalid="ignore", under="ignore"):
        mass, more = results.totals[at] * np.exp(old - shift), totals * np.exp(tops - shift)
        whole = mass + more
        share, rest = ((x / np.where(whole == 0, 1, whole)).astype(out.dtype)[:, None] for x in (mass, more))
        merged = rows_taken(results.out, at)
        merged *= share
        out *= rest
        merged += out
    rows_put(results.out, at, merged)
    results.tops[at], results.totals[at] = both, whole


def add_at(total: Array, at: Array, rows: Array) -> None:
    """Adds rows to those of `total` at some places, each of which is there once."""
    rows += rows_taken(total, at)
    rows_put(total, at, rows)


def within_bucket(s: Array, i: Array, j: Array, first: Array, last: Array) -> Array:
    """Returns the scores, -inf outside of the range of places that are a token's bucket; its own score is far lower."""
    return np.where((j >= first) & (j <= last), np.where(i == j, s - SELF, s), -np.inf)


@lru_cache(maxsize=16)
def own_and_before(chunk: int) -> Pattern:
    """Returns whether the key stands in the query's chunk or in the one before."""
    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        i0, i1, j0, j1 = (x // chunk for x in (i0, i1, j0, j1))
        return (j1 >= i0 - 1) & (j0 <= i1), (j0 >= i1 - 1) & (j1 <= i0)

    return Constant(Pattern(lambda i, j: (j // chunk <= i // chunk) & (j // chunk >= i // chunk - 1), corners=corners))
