"""Attention to the keys that an indexer chooses, some queries at a time; the backward makes the choice again: no mask is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.chosen.indexed import indexed_keys
from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.seen import Seen, seen_of
from tinyattn.kernels.tiles.storage import Sizes, sizes_of
from tinyattn.ops.types import Array


class Index(NamedTuple):
    """What an indexer chooses by: queries (..., index heads, i, c), keys (..., 1, j, c), weights (..., index heads, i), options."""

    q: Array
    k: Array
    weights: Array
    keep: int
    causal: bool


    def of(self, part: Part) -> Index:
        """Returns what is chosen by for some queries among some keys."""
        rows, keys = part
        return Index(self.q[..., rows, :], self.k[..., keys, :], self.weights[..., rows], self.keep, self.causal)


class Part(NamedTuple):
    """Some queries, and the keys among which theirs are chosen; the last of both stands where the other does."""

    rows: slice
    keys: slice


class Saved(NamedTuple):
    """What the backward reads: what was given, the result, and each row's largest score and sum of exponentials."""

    arrays: tuple[Array, Array, Array]
    chooses: Index
    scale: float
    parts: list[Part]
    out: Array
    tops: Array
    totals: Array


class Told(NamedTuple):
    """What the exact kernel reads of one kv head of a part beside its arrays; the mask of the choice is made each time."""

    options: exact.Options
    seen: Seen
    full: tuple[int, ...]
    sizes: Sizes


class Head(NamedTuple):
    """Where the rows and the keys of one kv head of a part stand, and their arrays."""

    rows: tuple[Any, ...]
    keys: tuple[Any, ...]
    arrays: tuple[Array, Array, Array]


def heads_of(saved: Saved, part: Part) -> Iterator[tuple[Told, Head]]:
    """Yields what the exact kernel reads of a part, a kv head at a time: a head's first keys stand together, and are not copied."""
    (q, k, v), (rows, keys), index = saved.arrays, part, saved.chooses.of(part)
    # Said beside the mask, causality spares the kernel the tiles that the mask hides.
    options = exact.Options(indexed_keys(*index), None, 0 if index.causal else None, saved.scale, None, False)
    group = q.shape[-3] // max(k.shape[-3], 1)
    told = None
    for n in range(k.shape[-3]):
        mine, read = (..., slice(n * group, (n + 1) * group), rows), (..., slice(n, n + 1), keys)
        one = q[*mine, :], k[*read, :], v[*read, :]
        if told is None:
            full, sizes = (*one[0].shape[:-1], one[1].shape[-2]), sizes_of(*one)
            told = Told(options, seen_of(options.mask, options.left, options.right, full, sizes), full, sizes)
        yield told, Head(mine, read, exact.blank_hidden(*one, options, told.full, told.seen))


@once
@primitive
def attention_by_index(q: Array, k: Array, v: Array, index: Index, scale: float, parts: list[Part]) -> tuple[Array, Saved]:
    """Returns the attention of queries, the last of which stands where the last key does, and what the backward reads."""
    out = np.empty((*q.shape[:-1], v.shape[-1]), q.dtype)
    saved = Saved((q, k, v), index, scale, parts, out, np.empty(q.shape[:-1], q.dtype), np.empty(q.shape[:-1]))
    for part in parts:
        for told, head in heads_of(saved, part):
            found, _, tops, totals = exact.tiled(head.arrays, None, None, None, told.options, told.seen, told.full, told.sizes)
            out[*head.rows, :], saved.tops[head.rows], saved.totals[head.rows] = found, tops, totals
    return out, saved


@attention_by_index.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array]:
    gradients = {name: np.zeros(x.shape, x.dtype) for name, x in zip("qkv", saved.arrays, strict=True)}
    for part in saved.parts:
        for told, head in heads_of(saved, part):
            tops = saved.tops[head.rows]
            solved = exact.Saved(told.options, told.sizes, told.seen, head.arrays, None, None, None, saved.out[*head.rows, :], tops,
                                 saved.totals[head.rows])
            found: Any = exact.pulled((d_out[*head.rows, :], np.zeros_like(tops)), solved, whole=True)
            gradients["q"][*head.rows, :] = found["q"]
            gradients["k"][*head.keys, :] += found["k"]
            gradients["v"][*head.keys, :] += found["v"]
    return gradients
