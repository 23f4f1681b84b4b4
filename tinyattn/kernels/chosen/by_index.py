"""Attention of some queries to the keys that an indexer chooses; the choice is made again for the backward, which keeps no mask."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.chosen.indexed import indexed_keys
from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.seen import seen_of
from tinyattn.kernels.tiles.storage import sizes_of
from tinyattn.ops.types import Array


class Index(NamedTuple):
    """What an indexer chooses by: queries (..., index heads, i, c), keys (..., 1, j, c), weights (..., index heads, i), options."""

    q: Array
    k: Array
    weights: Array
    keep: int
    causal: bool


class Saved(NamedTuple):
    """What the backward reads."""

    chooses: Index
    scale: float
    arrays: tuple[Array, Array, Array]
    out: Array
    tops: Array
    totals: Array


def told(q: Array, k: Array, v: Array, index: Index, scale: float) -> tuple[Any, ...]:
    """Returns the options, the visible tiles, the shape of the scores and the sizes of exact attention under the index's mask."""
    full, sizes = (*q.shape[:-1], k.shape[-2]), sizes_of(q, k, v)
    # Said beside the mask, causality spares the kernel the tiles that the mask hides.
    options = exact.Options(indexed_keys(*index), None, 0 if index.causal else None, scale, None, False)
    return options, seen_of(options.mask, options.left, options.right, full, sizes), full, sizes


@once
@primitive
def attention_by_index(q: Array, k: Array, v: Array, index: Index, scale: float) -> tuple[Array, Saved]:
    """Returns the attention of queries, the last of which stands where the last key does, and what the backward reads."""
    options, seen, full, sizes = told(q, k, v, index, scale)
    arrays = exact.blank_hidden(q, k, v, options, full, seen)
    out, _, tops, totals = exact.tiled(arrays, None, None, None, options, seen, full, sizes)
    return out, Saved(index, scale, arrays, out, tops, totals)


@attention_by_index.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array | None]:
    options, seen, _, sizes = told(*saved.arrays, saved.chooses, saved.scale)
    solved = exact.Saved(options, sizes, seen, saved.arrays, None, None, None, saved.out, saved.tops, saved.totals)
    return exact.pulled((d_out, np.zeros_like(saved.tops)), solved, whole=True)
