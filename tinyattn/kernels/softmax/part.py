"""The exact kernel on a part of a call: on some of its heads or of its keys, whose arrays are made for it and not kept."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.tiles.rows import by_head
from tinyattn.kernels.tiles.seen import Seen, seen_of
from tinyattn.kernels.tiles.storage import Sizes, sizes_of
from tinyattn.kernels.tiles.threads import each
from tinyattn.ops.types import Array


class Results(NamedTuple):
    """What the exact kernel gives: the result, and each row's largest score and the sum of exponentials below it."""

    out: Array
    tops: Array
    totals: Array


    def of(self, some: slice) -> Results:
        """Returns those of some groups of heads."""
        return Results(*(x[some] for x in self))

    def at(self, rows: tuple[Any, ...]) -> Results:
        """Returns those of some rows, where they stand; `rows` are slices of the axes before the last one."""
        return Results(self.out[*rows, :], self.tops[rows], self.totals[rows])

    def put(self, found: Results) -> None:
        """Writes results into these."""
        for room, x in zip(self, found, strict=True):
            room[...] = x

    def merge(self, part: Results) -> None:
        """Adds what other keys give; each row's largest score may be -inf, where it sees none."""
        top = np.maximum(self.tops, part.tops)
        shift = np.where(np.isneginf(top), 0, top)
        with np.errstate(under="ignore", invalid="ignore"):
            mass, more = self.totals * np.exp(self.tops - shift), part.totals * np.exp(part.tops - shift)
        total = mass + more
        shares = [by_head((x / np.where(total == 0, 1, total)).astype(self.out.dtype), 1) for x in (mass, more)]
        outs, parts = by_head(self.out), by_head(part.out)

        def task(n: int) -> None:
            for rows, share in zip((outs[n], parts[n]), shares, strict=True):
                rows *= share[n][:, None]
            outs[n] += parts[n]

        each(task, len(outs), self.out.size)
        self.tops[...], self.totals[...] = top, total


class Call(NamedTuple):
    """What the exact kernel reads of all parts of one shape, beside their arrays."""

    options: exact.Options
    seen: Seen
    full: tuple[int, ...]
    sizes: Sizes

    def blanked(self, q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
        """Returns q, k, v with 0 in place of what nobody sees."""
        return exact.blank_hidden(q, k, v, self.options, self.full, self.seen)

    def solved(self, arrays: tuple[Array, Array, Array], values: Array | None = None) -> Results:
        """Returns the results of q, k, v; `values` are the parameters of a score rule."""
        out, _, tops, totals = exact.tiled(arrays, None, None, None, self.options, self.seen, self.full, self.sizes, values)
        return Results(out, tops, totals)

    def pulled(self, arrays: tuple[Array, Array, Array], d_out: Array, results: Results, values: Array | None = None, *,
               whole: bool = False, beside: int = 1) -> Any:
        """Returns the gradients of q, k, v; `whole` is whether these are all their keys, `beside` the number of such parts."""
        results = Results(*(np.ascontiguousarray(x) for x in results))
        saved = exact.Saved(self.options, self.sizes, self.seen, arrays, None, None, None, *results, values)
        return exact.pulled((d_out, np.zeros(results.tops.shape, d_out.dtype)), saved, whole, beside)


def call_of(options: exact.Options, dtype: Any, *shapes: tuple[int, ...]) -> Call:
    """Returns what the exact kernel reads of parts whose q, k, v have these shapes."""
    q, k, v = (np.empty(shape, dtype) for shape in shapes)
    full, sizes = (*q.shape[:-1], k.shape[-2]), sizes_of(q, k, v)
    return Call(options, seen_of(options.mask, options.left, options.right, full, sizes), full, sizes)


def room_for(out: Array) -> Results:
    """Returns room for the results of all parts beside `out`, where they are written."""
    return Results(out, np.empty(out.shape[:-1], out.dtype), np.empty(out.shape[:-1]))


def by_group(x: Array, kv_heads: int) -> Array:
    """Returns x (..., heads, length, width) as (groups, heads of a group, length, width), a group for each kv head of each text."""
    groups = math.prod(x.shape[:-3]) * kv_heads
    return x.reshape(groups, x.shape[-3] // max(kv_heads, 1), *x.shape[-2:])


def some_of(count: int, size: int, most: int) -> list[slice]:
    """Returns the groups of a call a few at a time: as many as have `most` numbers together, of `size` for all, and at least one."""
    step = max(1, most * count // max(size, 1))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
