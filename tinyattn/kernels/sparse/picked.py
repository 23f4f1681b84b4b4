"""Attention of queries to the single keys that they picked, some heads at a time, and once more in the backward."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.engine.rerun import rerun
from tinyattn.kernels.chosen.keys import products_of_picks, sum_of_picks
from tinyattn.kernels.softmax.part import by_group, some_of
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.once import once
from tinyattn.ops.scores import scores_from
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array

# Numbers of the picks of the heads that are computed at once. Their products, weights and gradients then take 4 MiB each in float32.
TOGETHER = 1 << 20


def all_picked(q: Array, k: Array, v: Array, picks: Array, scale: float, softcap: float | None, bias: Array | None = None,
               sinks: Array | None = None) -> Array:
    """Returns the attention of q (..., heads, i, d) to its picks (..., heads, i, keep), -1 for none; the bias has their shape."""
    scores = scores_from(products_of_picks(q * scale, k, picks), softcap, None, None, None)
    scores = scores if bias is None else scores + bias
    return sum_of_picks(softmax(np.where(picks >= 0, scores, -np.inf), None, sinks), v, picks)


class Saved(NamedTuple):
    """What the backward reads: all that was given."""

    arrays: tuple[Array, Array, Array]
    picks: Array
    scale: float
    softcap: float | None


@once
@primitive
def picked(q: Array, k: Array, v: Array, picks: Array, scale: float, softcap: float | None) -> tuple[Array, Saved]:
    """Returns what `all_picked` returns without bias and sinks, and what the backward reads: no weight is kept."""
    out, saved = pages.empty((*q.shape[:-1], v.shape[-1]), q.dtype), Saved((q, k, v), picks, scale, softcap)
    outs = by_group(out, k.shape[-3])
    for some, (q_some, k_some, v_some), picks_some in parts_of(saved):
        outs[some] = all_picked(q_some, k_some, v_some, picks_some, scale, softcap)
    return out, saved


@picked.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array]:
    gradients = {name: pages.empty(x.shape, x.dtype) for name, x in zip("qkv", saved.arrays, strict=True)}
    *totals, d_outs = (by_group(x, saved.arrays[1].shape[-3]) for x in (*gradients.values(), d_out))
    for some, arrays, picks in parts_of(saved):
        def form(q: Array, k: Array, v: Array, picks: Array = picks) -> list[Array]:
            return [all_picked(q, k, v, picks, saved.scale, saved.softcap)]

        for total, slope in zip(totals, rerun(form, arrays, [d_outs[some]]), strict=True):
            total[some] = slope
    return gradients


def parts_of(saved: Saved) -> list[tuple[slice, list[Array], Array]]:
    """Returns which kv heads, what they read and the picks of their queries, some kv heads at a time; shapes alone say how many."""
    kv_heads = saved.arrays[1].shape[-3]
    arrays, picks = [by_group(x, kv_heads) for x in saved.arrays], by_group(saved.picks, kv_heads)
    return [(some, [x[some] for x in arrays], picks[some]) for some in some_of(len(picks), picks.size, TOGETHER)]
