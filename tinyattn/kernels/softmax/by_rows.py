"""Attention whose scores are made for some rows of queries at a time, and again in the backward.

No array of all pairs is ever held. What the scores are made of is a `Scores` of the mechanism, which this file gives the rows of
queries and the keys before `stop`; bias, mask, softmax and values are the same for all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.softmax.row_blocks import blocks, tasks, widened
from tinyattn.kernels.softmax.row_scores import Call, Scores, Task, columns, fold, pairs, valued
from tinyattn.kernels.tiles.blas import each_multiplying
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.seen import sides_of
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
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


@once
@primitive
def attention_by_rows(q: Array, k: Array, v: Array, bias: Array | None, sinks: Array | None, first: Array | None,
                      second: Array | None, third: Array | None, call: Call) -> tuple[Array, Any]:
    """Returns attention of plain arrays (..., heads, length, dim); `first` to `third` are the mechanism's own arrays."""
    full, own, tiled = (*q.shape[:-1], k.shape[-2]), (first, second, third), call.scores.tiled
    if tiled is not None and tiled.fits(q, k, v, bias, call):
        made, read = tiled.forward(q, k, v, bias, sinks, own, call)
        return made, (tiled.backward, read)
    out, lse = np.zeros((*full[:-1], v.shape[-1]), q.dtype), np.full(full[:-1], -np.inf, q.dtype)
    every = tasks(q, k, call.scores.together)

    def run(n: int) -> None:
        task = every[n]
        head, kv_head = task.places()
        scores, values = call.scores(q[head], k[kv_head], parts_of(own, task, call), call), v[kv_head]
        for rows, keys, _, shown in blocks(task, scores, call, bias, full):
            top = shown.max(axis=-1, initial=-np.inf)
            if sinks is not None:
                top = np.maximum(top, sinks[task.heads, None])
            top = np.where(top == -np.inf, 0, top)
            with np.errstate(all="ignore"):
                shown -= top[..., None]
                weights = np.exp(shown, out=shown)
                total = weights.sum(axis=-1)
                if sinks is not None:
                    total += np.exp(sinks[task.heads, None] - top)
                lse[head][:, rows] = np.log(total) + top
                share = (1 / np.where(total == 0, 1, total))[..., None]
                if scores.together:  # what is mixed are weights that sum to 1
                    weights *= share
                    out[head][:, rows] = valued(scores.mixed_after(weights), values[:, keys])
                else:
                    np.multiply(valued(weights, values[:, keys]), share, out=out[head][:, rows])

    with np.errstate(all="ignore"):
        each_multiplying(run, len(every), out.size * full[-1])
    return out, (gradients_by_rows, ((q, k, v, bias, sinks), own, call, lse, out))


@attention_by_rows.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array | None]:
    backward, read = saved
    gradients: dict[str, Array | None] = backward(d_out, read)
    return gradients


def gradients_by_rows(d_out: Array, saved: Any) -> dict[str, Array | None]:
    """Returns the gradients by argument of what was made by rows."""
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
        turned = columns(values)
        for rows, keys, capped, shown in blocks(task, scores, call, bias, full):
            given, logs = d_out[head][:, rows], lse[head][:, rows]
            with np.errstate(all="ignore"):
                shown -= np.where(logs == -np.inf, 0, logs)[..., None]
                weights = np.exp(shown, out=shown)
                d_mixed = pairs(given, turned[..., keys])
                d_v[kv_head][:, keys] += fold(scores.mixed_after(weights), len(values)).mT @ fold(given, len(values))
                d_scores = scores.pull_after(d_mixed, weights)
                delta = np.vecdot(weights, d_scores)
                d_scores -= delta[..., None]
                d_scores *= weights
                if sinks is not None:
                    top = np.where(logs == -np.inf, 0, logs)
                    d_sinks[head] -= (np.exp(sinks[task.heads, None] - top) * delta).sum(axis=-1)
                if d_bias is not None:
                    place = task.of(d_bias, rows, keys)
                    axes = tuple(axis for axis in range(3) if d_bias.shape[axis - 3] == 1)
                    d_bias[place] += d_scores.sum(axis=axes, keepdims=True)
                d_scores = scores.pull_before(d_scores, capped)
                if call.softcap is not None:
                    d_scores = d_scores * (1 - (capped / call.softcap) ** 2)
                scores.pull(rows, keys, d_scores)
        scores.finish()
        d_q[head], d_k[kv_head], d_owns[n] = scores.d_q, scores.d_k, scores.d_own

    # Heads that share a bias add to one gradient, one after the other.
    shared = d_bias is not None and math.prod(d_bias.shape[:-2]) < math.prod(full[:-2])
    with np.errstate(all="ignore"):
        each_multiplying(run, len(every), 0 if shared else out.size * full[-1])
    gradients: dict[str, Array | None] = {"q": d_q, "k": d_k, "v": d_v}
    if sinks is not None:
        gradients["sinks"] = d_sinks.sum(axis=tuple(range(d_sinks.ndim - 1)))
    if d_bias is not None:
        gradients["bias"] = d_bias
    return gradients | joined(own, every, d_owns, call)


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
