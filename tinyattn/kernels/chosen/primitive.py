"""Attention to chosen blocks on plain arrays, forward and backward joined into one primitive of the engine."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.chosen.backward import backward
from tinyattn.kernels.chosen.choose import Choice, picks_of
from tinyattn.kernels.chosen.forward import forward
from tinyattn.kernels.chosen.gather import Parts
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.storage import Sizes, padded, rounded_up, sizes_of
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.types import Array

# Rows of a part: enough that many choose the same block, few enough that what they hold stays in a core's own cache.
MOST_ROWS, LEAST_ROWS = 2048, 256
# Tasks to be shared, at least, where rows suffice. Fixed, so that sums are taken in one order whatever the machine.
TASKS = 8


class Saved(NamedTuple):
    """What the backward reads."""

    sizes: Sizes
    parts: Parts
    scale: float
    picks: Array
    arrays: tuple[Array, Array, Array]
    out: Array
    tops: Array
    totals: Array


@once
@primitive
def chosen_attention(q: Array, k: Array, v: Array, choice: Choice) -> tuple[Array, Saved]:
    """Returns causal attention of each query to the keys of the blocks that it chose, and what the backward reads."""
    sizes, block = sizes_of(q, k, v), min(choice.block, max(k.shape[-2], 1))
    # Whole micro tiles are read from the first key of a block on.
    sizes = sizes._replace(kv_rows=rounded_up(sizes.kv_rows, ROWS) + (ROWS if block % ROWS else 0))
    rows = sizes.q_len * (sizes.heads // max(sizes.kv_heads, 1))
    wanted = rounded_up(sizes.batch * sizes.kv_heads * rows // TASKS, sizes.q_tile)
    picks = picks_of(q, k, choice)
    parts = Parts(rows, max(LEAST_ROWS, min(MOST_ROWS, wanted)), sizes.q_len if choice.shared else rows, choice.keep,
                  -(-sizes.kv_len // block), block)
    out, tops, totals = np.empty((*q.shape[:-1], sizes.value_dim), q.dtype), np.empty(q.shape[:-1], q.dtype), np.empty(q.shape[:-1])
    saved = Saved(sizes, parts, choice.scale, picks.reshape(-1), (q, k, v), out, tops, totals)
    run(forward, sizes.batch * sizes.kv_heads * -(-rows // parts.part), work(saved), sizes, parts, choice.scale, saved.picks,
        *filled(saved), out.reshape(-1), tops.reshape(-1), totals.reshape(-1))
    return out, saved


def work(saved: Saved) -> int:
    """Returns the multiply-adds of a forward, at most."""
    sizes, parts = saved.sizes, saved.parts
    return sizes.batch * sizes.kv_heads * parts.rows * parts.keep * parts.block * (sizes.head_dim + sizes.value_dim)


def filled(saved: Saved) -> tuple[Array, Array, Array]:
    """Returns q, k, v flat, filled up to whole micro tiles."""
    (q, k, v), sizes = saved.arrays, saved.sizes
    return (padded(q, sizes.q_len, sizes.head_width), padded(k, sizes.kv_rows, sizes.head_width),
            padded(v, sizes.kv_rows, sizes.value_width))


@chosen_attention.backward
def _(d_out: Array, saved: Saved) -> dict[str, Any]:
    sizes, parts, out = saved.sizes, saved.parts, saved.out
    dtype, lead = out.dtype, out.shape[:-3]
    heads = sizes.batch * sizes.kv_heads
    splits = max(1, min(-(-TASKS // max(heads, 1)), -(-parts.rows // parts.part)))
    d_q = np.zeros((*out.shape[:-1], sizes.head_width), dtype)
    d_k = np.zeros((splits, *lead, sizes.kv_heads, sizes.kv_rows, sizes.head_width), dtype)
    d_v = np.zeros((splits, *lead, sizes.kv_heads, sizes.kv_rows, sizes.value_width), dtype)
    run(backward, heads * splits, 3 * work(saved), splits, sizes, parts, saved.scale, saved.picks, *filled(saved), out.reshape(-1),
        saved.tops.reshape(-1), saved.totals.reshape(-1), padded(d_out, sizes.q_len, sizes.value_width), d_q.reshape(-1),
        d_k.reshape(-1), d_v.reshape(-1))
    d_k, d_v = (x[0] if splits == 1 else x.sum(axis=0) for x in (d_k, d_v))
    return {"q": d_q[..., : sizes.head_dim], "k": d_k[..., : sizes.kv_len, : sizes.head_dim],
            "v": d_v[..., : sizes.kv_len, : sizes.value_dim]}
