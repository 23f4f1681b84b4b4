"""Attention to the keys that an indexer chooses, some queries at a time; the backward makes the choice again: no mask is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.chosen.indexed import indexed_keys
from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.softmax.part import Call, Results, call_of, room_for
from tinyattn.kernels.tiles.once import once
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
    """What the backward reads: what was given, and the results."""

    arrays: tuple[Array, Array, Array]
    chooses: Index
    scale: float
    parts: list[Part]
    results: Results


class Head(NamedTuple):
    """Where the queries and the keys of one kv head of a part stand, and their arrays."""

    queries: tuple[Any, ...]
    keys: tuple[Any, ...]
    arrays: tuple[Array, Array, Array]


def heads_of(saved: Saved, part: Part) -> Iterator[tuple[Call, Head]]:
    """Yields what the exact kernel reads of a part, a kv head at a time: a head's first keys stand together, and are not copied."""
    (q, k, v), (rows, keys), index = saved.arrays, part, saved.chooses.of(part)
    # Given beside the mask, causality lets the kernel skip the tiles that the mask hides.
    options = exact.Options(indexed_keys(*index), None, 0 if index.causal else None, saved.scale, None, False)
    group, call = q.shape[-3] // max(k.shape[-3], 1), None
    for n in range(k.shape[-3]):
        of_queries, of_keys = (..., slice(n * group, (n + 1) * group), rows), (..., slice(n, n + 1), keys)
        arrays = q[*of_queries, :], k[*of_keys, :], v[*of_keys, :]
        call = call or call_of(options, q.dtype, *(x.shape for x in arrays))
        yield call, Head(of_queries, of_keys, call.blanked(*arrays))


@once
@primitive
def attention_by_index(q: Array, k: Array, v: Array, index: Index, scale: float, parts: list[Part]) -> tuple[Array, Saved]:
    """Returns the attention of queries, the last of which stands where the last key does, and what the backward reads."""
    results = room_for(np.empty((*q.shape[:-1], v.shape[-1]), q.dtype))
    saved = Saved((q, k, v), index, scale, parts, results)
    for part in parts:
        for call, head in heads_of(saved, part):
            results.at(head.queries).put(call.solved(head.arrays))
    return results.out, saved


@attention_by_index.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array]:
    gradients = {name: np.zeros(x.shape, x.dtype) for name, x in zip("qkv", saved.arrays, strict=True)}
    for part in saved.parts:
        for call, head in heads_of(saved, part):
            d_rows = np.ascontiguousarray(d_out[*head.queries, :])
            found = call.pulled(head.arrays, d_rows, saved.results.at(head.queries), whole=True)
            for name, place in (("q", head.queries), ("k", head.keys), ("v", head.keys)):
                gradients[name][*place, :] += found[name]
    return gradients
