"""Attention to chosen blocks on plain arrays, and forward and backward joined into one primitive of the engine."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.chosen.backward import backward
from tinyattn.kernels.chosen.choose import Choice, picks_of
from tinyattn.kernels.chosen.forward import forward
from tinyattn.kernels.chosen.gather import Parts
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.lanes import ROWS
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.rows import row_products
from tinyattn.kernels.tiles.seen import UNBOUNDED
from tinyattn.kernels.tiles.storage import Sizes, filled, padded, rounded_up, sizes_of
from tinyattn.kernels.tiles.threads import run
from tinyattn.ops.types import Array

# Rows of a part: enough that many choose the same block, few enough that what they hold stays in a core's own cache.
MOST_ROWS, LEAST_ROWS = 2048, 256
# Tasks to be shared, at least, where rows suffice. Fixed, so that sums are taken in one order whatever the machine.
TASKS = 8


class Plan(NamedTuple):
    """What the kernels are told of a call: its sizes, its parts, and the picks that its rows have."""

    sizes: Sizes
    parts: Parts
    scale: float
    picks: Array


class Solved(NamedTuple):
    """The output of each row, its largest score and the sum of its exponentials below that."""

    out: Array
    tops: Array
    totals: Array


class Gradients(NamedTuple):
    """Sums over the rows of a backward, (..., heads, i, d) and copies (splits, ..., kv_heads, j, d or e), as wide as padded arrays."""

    q: Array
    k: Array
    v: Array


def planned(q: Array, k: Array, v: Array, picks: Array, block: int, scale: float) -> Plan:
    """Returns the plan of causal attention to blocks of `block` keys; picks (..., i, keep) of all heads or of all kv heads."""
    sizes, block = sizes_of(q, k, v), min(block, max(k.shape[-2], 1))
    # Whole micro tiles are read from the first key of a block on.
    sizes = sizes._replace(kv_rows=rounded_up(sizes.kv_rows, ROWS) + (ROWS if block % ROWS else 0))
    rows = sizes.q_len * (sizes.heads // max(sizes.kv_heads, 1))
    wanted = rounded_up(sizes.batch * sizes.kv_heads * rows // TASKS, sizes.q_tile)
    parts = Parts(rows, max(LEAST_ROWS, min(MOST_ROWS, wanted)), sizes.q_len if picks.shape[-3] == sizes.kv_heads else rows,
                  picks.shape[-1], -(-sizes.kv_len // block), block, sizes.kv_len - sizes.q_len, 1, UNBOUNDED)
    # A view that may not be written to is a type of its own: for it, the same kernels would be compiled a second time.
    return Plan(sizes, parts, scale, np.require(picks.reshape(-1), requirements=["C", "W"]))


def solved(plan: Plan, arrays: tuple[Array, Array, Array], shape: tuple[int, ...]) -> Solved:
    """Returns what the rows (..., heads, i) of a shape read from arrays that are filled up to whole micro tiles."""
    (sizes, parts, scale, picks), dtype = plan, arrays[0].dtype
    made = Solved(pages.empty((*shape, sizes.value_dim), dtype), pages.empty(shape, dtype), pages.empty(shape))
    run(forward, sizes.batch * sizes.kv_heads * -(-parts.rows // parts.part), work(plan), sizes, parts, scale, picks, *arrays,
        *(x.reshape(-1) for x in made))
    return made


def work(plan: Plan) -> int:
    """Returns the multiply-adds of a forward, at most."""
    sizes, parts = plan.sizes, plan.parts
    return (sizes.batch * sizes.kv_heads * parts.rows * parts.keep * min(parts.block, parts.left + parts.block // 2)
            * (sizes.head_dim + sizes.value_dim))


def empty_gradients(plan: Plan, d_q: Array) -> Gradients:
    """Returns gradients of 0 of the keys and values that rows of queries read, with an array to which these rows' own are added."""
    sizes, parts = plan.sizes, plan.parts
    splits = max(1, min(-(-TASKS // max(sizes.batch * sizes.kv_heads, 1)), -(-parts.rows // parts.part)))
    shape = (splits, *d_q.shape[:-3], sizes.kv_heads, sizes.kv_rows)
    return Gradients(d_q, *(pages.zeros((*shape, width), d_q.dtype) for width in (sizes.head_width, sizes.value_width)))


def add_gradients(plan: Plan, arrays: tuple[Array, Array, Array], made: Solved, factors: Array, slopes: Array, d_out: Array,
                  gradients: Gradients) -> None:
    """Adds to the gradients; d_out, flat and filled, is that of `factors` (..., i) times the output, and slopes are the factors'."""
    sizes, parts, scale, picks = plan
    splits = len(gradients.k)
    run(backward, sizes.batch * sizes.kv_heads * splits, 3 * work(plan), splits, sizes, parts, scale, picks, *arrays,
        *(x.reshape(-1) for x in (made.tops, made.totals, factors, slopes)), d_out, *(x.reshape(-1) for x in gradients))


def of_each(gradients: Gradients, sizes: Sizes) -> dict[str, Array]:
    """Returns the gradients of q, k and v, without what fills them up to whole micro tiles."""
    d_k, d_v = (x[0] if len(x) == 1 else x.sum(axis=0) for x in gradients[1:])
    made = {"q": gradients.q[..., : sizes.head_dim], "k": d_k[..., : sizes.kv_len, : sizes.head_dim],
            "v": d_v[..., : sizes.kv_len, : sizes.value_dim]}
    return {name: np.ascontiguousarray(x) for name, x in made.items()}


@once
@primitive
def chosen_attention(q: Array, k: Array, v: Array, choice: Choice) -> tuple[Array, Any]:
    """Returns causal attention of each query to the keys of the blocks that it chose, and what the backward reads."""
    plan = planned(q, k, v, picks_of(q, k, choice), choice.block, choice.scale)
    made = solved(plan, filled(q, k, v, plan.sizes), q.shape[:-1])
    return made.out, (plan, (q, k, v), made)


@chosen_attention.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Any]:
    plan, (q, k, v), made = saved
    gradients = empty_gradients(plan, pages.zeros((*made.tops.shape, plan.sizes.head_width), made.out.dtype))
    add_gradients(plan, filled(q, k, v, plan.sizes), made, np.ones_like(made.tops), row_products(d_out, made.out),
                  padded(d_out, plan.sizes.q_len, plan.sizes.value_width), gradients)
    return of_each(gradients, plan.sizes)
