"""The three branches of native sparse attention as one differentiable function: they share arrays, kernels and gradients."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.chosen.choose import Choice, picks_of
from tinyattn.kernels.chosen.primitive import Plan, Solved, add_gradients, empty_gradients, of_each, planned, solved
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.rows import by_head, row_products
from tinyattn.kernels.tiles.storage import filled, padded
from tinyattn.kernels.tiles.threads import each
from tinyattn.ops.types import Array


class Saved(NamedTuple):
    """What the backward reads. What the rows read from the means takes least time, and is computed again."""

    arrays: tuple[Array, Array, Array]
    gates: Array
    step: int
    plans: tuple[Plan, Plan]
    made: tuple[Solved, Solved]


@once
@primitive
def branched_attention(q: Array, k: Array, v: Array, gates: Array, choice: Choice, window: int) -> tuple[Array, Saved]:
    """Returns the sum of three attentions, each times one of the gates (..., heads, i, 3), and what the backward reads.

    They are to the means of blocks that are complete, to the blocks that a row chose, and to the last `window` keys.
    """
    fine = planned(q, k, v, picks_of(q, k, choice), choice.block, choice.scale)
    near = band(fine, min(window, max(k.shape[-2], 1)) - 1)
    arrays, rows = filled(q, k, v, fine.sizes), q.shape[:-1]
    plan, means = of_means(q, k, v, choice.block, choice.scale)
    out = pages.zeros((*rows, v.shape[-1]), q.dtype)
    add_gated(out, gates, 0, solved(plan, (arrays[0], *means), rows))
    made = solved(fine, arrays, rows), solved(near, arrays, rows)
    for n, branch in enumerate(made, start=1):
        add_gated(out, gates, n, branch)
    return out, Saved((q, k, v), gates, choice.block, (fine, near), made)


@branched_attention.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array]:
    q, k, v = saved.arrays
    sizes, rows, scale = saved.plans[0].sizes, q.shape[:-1], saved.plans[0].scale
    arrays = filled(q, k, v, sizes)
    plan, means = of_means(q, k, v, saved.step, scale)
    read = (arrays[0], *means)
    of_mean = solved(plan, read, rows)
    # All products with the branches come first, so that the one of the means is gone before gradients stand beside it.
    slopes = [row_products(d_out, made.out) for made in (of_mean, *saved.made)]
    of_mean = of_mean._replace(out=np.zeros(0, q.dtype))
    gates, filled_d_out = np.ascontiguousarray(np.moveaxis(saved.gates, -1, 0)), padded(d_out, sizes.q_len, sizes.value_width)
    gradients = empty_gradients(saved.plans[0], pages.zeros((*rows, sizes.head_width), q.dtype))
    for branch, made, gate, slope in zip(saved.plans, saved.made, gates[1:], slopes[1:], strict=True):
        add_gradients(branch, arrays, made, gate, slope, filled_d_out, gradients)
    of_its_own = empty_gradients(plan, gradients.q)
    add_gradients(plan, read, of_mean, gates[0], slopes[0], filled_d_out, of_its_own)
    for total, of_means_alone in zip(gradients[1:], of_its_own[1:], strict=True):
        spread(total[0], of_means_alone.sum(axis=0)[..., : plan.sizes.kv_len, :], saved.step)
    return of_each(gradients, sizes) | {"gates": np.stack(slopes, axis=-1)}


def band(plan: Plan, left: int) -> Plan:
    """Returns the plan of a band of keys: every row reads one block, which is all keys, and sees its last key and `left` before it."""
    sizes, parts = plan.sizes, plan.parts
    parts = parts._replace(picked=sizes.q_len, keep=1, blocks=1, block=max(sizes.kv_len, 1), left=left)
    return plan._replace(parts=parts, picks=np.zeros(sizes.batch * sizes.kv_heads * sizes.q_len, np.int32))


def of_means(q: Array, k: Array, v: Array, step: int, scale: float) -> tuple[Plan, tuple[Array, Array]]:
    """Returns the plan of attention to the means of blocks of `step` tokens, and these, filled up to whole micro tiles.

    A row before the end of the first block picks nothing: there may be no block at all.
    """
    complete, first = k.shape[-2] // step, k.shape[-2] - q.shape[-2]
    mean_k, mean_v = (x[..., : complete * step, :].reshape(*x.shape[:-2], complete, step, x.shape[-1]).mean(axis=-2) for x in (k, v))
    reads = np.arange(first, k.shape[-2]) >= step - 1
    picks = np.broadcast_to(np.where(reads, 0, -1).astype(np.int32)[:, None], (*k.shape[:-2], len(reads), 1))
    plan = planned(q, mean_k, mean_v, picks, max(complete, 1), scale)
    plan = plan._replace(parts=plan.parts._replace(first=first, step=step))
    sizes = plan.sizes
    return plan, (padded(mean_k, sizes.kv_rows, sizes.head_width), padded(mean_v, sizes.kv_rows, sizes.value_width))


def add_gated(out: Array, gates: Array, n: int, branch: Solved) -> None:
    """Adds a branch to the output, times the n-th gate of each row."""
    outs, weights, parts = by_head(out), by_head(gates), by_head(branch.out)

    def task(head: int) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            outs[head] += weights[head][:, n : n + 1] * parts[head]

    each(task, len(outs), out.size)


def spread(total: Array, d_means: Array, step: int) -> None:
    """Adds to the gradient of keys or values (..., heads, j, width) that of the means of `step` of them."""
    totals, parts = by_head(total), by_head(d_means)
    count, width = parts.shape[1:]

    def task(head: int) -> None:
        blocks = totals[head][: count * step].reshape(count, step, width)
        blocks += parts[head][:, None] / step

    each(task, len(totals), total.size)
