"""Attention whose scores are made for some rows of queries at a time, and again in the backward.

No array of all pairs is ever held. What the scores are made of is a `Scores` of the mechanism, which this file gives the rows of
queries and the keys before `stop`; bias, mask, softmax and values are the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.softmax.row_scores import Call, Scores, Task, fold, pairs
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.seen import sides_of
from tinyattn.kernels.tiles.threads import each
from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import check_broadcast
from tinyattn.ops.masks.pattern import Pattern, band
from tinyattn.ops.options import (
    Window,
    check_bias,
    check_causal,
    check_mask,
    check_sinks,
    check_softcap,
    dense_bias,
    visible_keys,
)
from tinyattn.ops.types import Array

# Bytes of the scores that are made at a time, which should stay in a core's own cache; at least LEAST rows, for the products.
PART_BYTES, LEAST = 1 << 18, 16


def tasks(q: Array, k: Array, together: bool) -> list[Task]:
    """Returns the tasks of a call: one per sequence and kv head, or one per sequence."""
    heads, kv_heads = q.shape[-3], k.shape[-3]
    groups = heads // max(kv_heads, 1)
    parts = [(slice(0, heads), slice(0, kv_heads))] if together else [
        (slice(h * groups, (h + 1) * groups), slice(h, h + 1)) for h in range(kv_heads)]
    return [Task(at, *part) for at in np.ndindex(q.shape[:-3]) for part in parts]


def widened(x: Array | None, full: tuple[int, ...]) -> Array | None:
    """Returns a mask or bias with as many axes as (..., heads, i, j)."""
    return None if x is None else x.reshape((1,) * (len(full) - x.ndim) + x.shape)


def blocks(task: Task, scores: Scores, call: Call, bias: Array | None, full: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    """Yields rows, the end of the keys that they may see, their capped scores and these as the softmax takes them."""
    q_len, kv_len = full[-2:]
    size = max(1, len(scores.q) * kv_len * scores.q.itemsize)
    step = max(LEAST, PART_BYTES // size)
    for start in range(0, q_len, step):
        rows = slice(start, min(start + step, q_len))
        positions = np.arange(rows.start, rows.stop) + (kv_len - q_len)
        stop = kv_len if call.right is None else min(max(int(positions[-1]) + call.right + 1, 0), kv_len)
        capped = scores.made(rows, stop)
        if call.softcap is not None:
            capped = call.softcap * np.tanh(capped / call.softcap)
        shown = scores.mixed_before(capped)
        if bias is not None:
            shown = shown + bias[task.of(bias, rows, stop)]
        elif shown is capped and call.softcap is not None:
            shown = capped.copy()
        hide(shown, positions, call, task, rows, full)
        yield rows, stop, capped, shown


def hide(scores: Array, positions: Array, call: Call, task: Task, rows: slice, full: tuple[int, ...]) -> None:
    """Writes -inf over the scores (heads, rows, stop) of pairs that are not visible."""
    stop = scores.shape[-1]
    low = 0 if call.left is not None or call.right is None else min(max(int(positions[0]) + call.right + 1, 0), stop)
    if call.left is not None or call.right is not None:
        np.copyto(scores[..., low:], -np.inf, where=~band(positions[:, None], np.arange(low, stop), call.left, call.right))
    if isinstance(call.mask, Pattern):
        made = call.mask.visible(positions, np.arange(stop))
        check_broadcast("mask", (*made.shape[:-2], *full[-2:]), full)
        seen = widened(made, full)
        np.copyto(scores, -np.inf, where=~seen[task.of(seen, slice(None), stop)])  # type: ignore[index, union-attr, arg-type]
    elif call.mask is not None:
        np.copyto(scores, -np.inf, where=~call.mask[task.of(call.mask, rows, stop)])


@once
@primitive
def attention_by_rows(q: Array, k: Array, v: Array, bias: Array | None, sinks: Array | None, first: Array | None,
                      second: Array | None, third: Array | None, call: Call) -> tuple[Array, Any]:
    """Returns attention of plain arrays (..., heads, length, dim); `first` to `third` are the mechanism's own arrays."""
    full, own = (*q.shape[:-1], k.shape[-2]), (first, second, third)
    out, lse = np.zeros((*full[:-1], v.shape[-1]), q.dtype), np.full(full[:-1], -np.inf, q.dtype)
    every = tasks(q, k, call.scores.together)

    def run(n: int) -> None:
        task = every[n]
        head, kv_head = task.places()
        scores, values = call.scores(q[head], k[kv_head], parts_of(own, task, call), call), v[kv_head]
        for rows, stop, _, shown in blocks(task, scores, call, bias, full):
            top = shown.max(axis=-1, initial=-np.inf)
            if sinks is not None:
                top = np.maximum(top, sinks[task.heads, None])
            top = np.where(top == -np.inf, 0, top)
            with np.errstate(all="ignore"):
                weights = np.exp(shown - top[..., None], out=shown)
                total = weights.sum(axis=-1)
                if sinks is not None:
                    total += np.exp(sinks[task.heads, None] - top)
                lse[head][:, rows] = np.log(total) + top
                weights /= np.where(total == 0, 1, total)[..., None]
                out[head][:, rows] = valued(scores.mixed_after(weights), values[:, :stop])

    with np.errstate(all="ignore"):
        each(run, len(every), out.size * full[-1])
    return out, ((q, k, v, bias, sinks), own, call, lse, out)


@attention_by_rows.backward
def _(d_out: Array, saved: Any) -> dict[str, Array | None]:
    (q, k, v, bias, sinks), own, call, lse, out = saved
    full, every = (*q.shape[:-1], k.shape[-2]), tasks(q, k, call.scores.together)
    d_q, d_k, d_v, d_bias = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v), None
    d_sinks, d_owns = np.zeros(full[:-2], q.dtype), [[None]] * len(every)
    if call.learned and bias is not None:
        d_bias = np.zeros_like(bias)

    def run(n: int) -> None:
        task = every[n]
        head, kv_head = task.places()
        scores, values = call.scores(q[head], k[kv_head], parts_of(own, task, call), call), v[kv_head]
        for rows, stop, capped, shown in blocks(task, scores, call, bias, full):
            given, logs = d_out[head][:, rows], lse[head][:, rows]
            with np.errstate(all="ignore"):
                weights = np.exp(shown - np.where(logs == -np.inf, 0, logs)[..., None], out=shown)
                d_mixed = pairs(given, values[:, :stop])
                d_v[kv_head][:, :stop] += fold(scores.mixed_after(weights), len(values)).mT @ fold(given, len(values))
                d_scores = scores.pull_after(d_mixed, weights)
                delta = np.einsum("hij,hij->hi", weights, d_scores)
                d_scores = weights * (d_scores - delta[..., None])
                if sinks is not None:
                    top = np.where(logs == -np.inf, 0, logs)
                    d_sinks[head] -= (np.exp(sinks[task.heads, None] - top) * delta).sum(axis=-1)
                if d_bias is not None:
                    place = task.of(d_bias, rows, stop)
                    axes = tuple(axis for axis in range(3) if d_bias.shape[axis - 3] == 1)
                    d_bias[place] += d_scores.sum(axis=axes, keepdims=True)
                d_scores = scores.pull_before(d_scores, capped)
                if call.softcap is not None:
                    d_scores = d_scores * (1 - (capped / call.softcap) ** 2)
                scores.pull(rows, stop, d_scores)
        scores.finish()
        d_q[head], d_k[kv_head], d_owns[n] = scores.d_q, scores.d_k, scores.d_own

    # Heads that share a bias add to one gradient, one after the other.
    shared = d_bias is not None and math.prod(d_bias.shape[:-2]) < math.prod(full[:-2])
    each(run, len(every), 0 if shared else out.size * full[-1])
    gradients: dict[str, Array | None] = {"q": d_q, "k": d_k, "v": d_v}
    if sinks is not None:
        gradients["sinks"] = d_sinks.sum(axis=tuple(range(d_sinks.ndim - 1)))
    if d_bias is not None:
        gradients["bias"] = d_bias
    return gradients | joined(own, every, d_owns, call)


def valued(weights: Array, values: Array) -> Array:
    """Returns weights (heads, rows, j) times values (kv_heads, j, e), (heads, rows, e)."""
    return (fold(weights, len(values)) @ values).reshape(*weights.shape[:2], values.shape[-1])


def parts_of(own: tuple[Array | None, ...], task: Task, call: Call) -> tuple[Array | None, ...]:
    """Returns the part of a mechanism's own arrays that belongs to a task."""
    return tuple(None if x is None else x[place] for x, place in zip(own, call.scores.places(task), strict=False))


def joined(own: tuple[Array | None, ...], every: list[Task], parts: list[Any], call: Call) -> dict[str, Array | None]:
    """Returns the gradients of a mechanism's own arrays, by argument: the sums of those of the tasks that read each part."""
    gradients: dict[str, Array | None] = {}
    for n, (name, x) in enumerate(zip(("first", "second", "third"), own, strict=True)):
        if x is not None:
            total = np.zeros_like(x)
            for task, d_own in zip(every, parts, strict=True):
                total[call.scores.places(task)[n]] += d_own[n]
            gradients[name] = total
    return gradients


def by_rows(scores: type[Scores], q: Array, k: Array, v: Array, own: tuple[Any, ...], *, mask: Array | Pattern | None,
            bias: Array | Bias | None, causal: bool, window: Window | None, scale: float, softcap: float | None,
            sinks: Array | None, **more: Any) -> Array:
    """Returns attention by the scores of a mechanism, after the definition's checks of the options that all mechanisms share."""
    full = (*q.shape[:-1], k.shape[-2])
    mask, (left, right) = check_mask(mask, full), sides_of(window)
    right, softcap = 0 if check_causal(causal) else right, check_softcap(softcap)
    bias = check_bias(bias, full, q.dtype, lambda: visible_keys(mask, causal, window, full))
    added, shown = widened(dense_bias(bias, full, q.dtype), full), mask if isinstance(mask, Pattern) else widened(mask, full)
    call = Call(scores, shown, left, right, scale, softcap, not isinstance(added, np.ndarray | None), tuple(more.items()))
    first, second, third = (*own, None, None, None)[:3]
    out: Array = attention_by_rows(q, k, v, added, check_sinks(sinks, full[-3], q.dtype), first, second, third, call)
    return out
