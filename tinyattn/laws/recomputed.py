"""Attention with the backward of a kernel: the weights are not kept, but computed again as exp(score - lse)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.laws.precision import rounded
from tinyattn.laws.problem import Mechanism
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.options import blank_unseen, check_scale
from tinyattn.ops.scores import scores_from, weighted_values
from tinyattn.ops.softmax import exponentials, log_total, nonzero
from tinyattn.ops.types import Array


def onto(rows: Array, k: Array) -> Array:
    """Returns sum_j rows_ij k_j: rows (..., heads, i, j), k (..., kv_heads, j, d) -> (..., heads, i, d)."""
    return unfold_group(fold_group(rows, k.shape[-3]) @ k, rows.shape[-3])


def over_groups(x: Array, kv_heads: int) -> Array:
    """Returns the sums over the heads of each group: (..., heads, j, d) -> (..., kv_heads, j, d)."""
    return x.reshape(*x.shape[:-3], kv_heads, -1, *x.shape[-2:]).sum(axis=-3) if x.size else x[..., :kv_heads, :, :]


def recomputed(storage: str = "float32", *, stored: str = "float32", every: str = "float32", absolute: bool = False,
               through_largest: bool = False) -> Mechanism:
    """Returns attention whose backward computes the weights again, in float32, and rounds them to `storage`.

    The output that the backward reads is rounded to `stored`, as a forward pass hands it over, and so are dO V^T and sum dO O.
    Every number in between, forward and backward, is rounded to `every`: so does a library that keeps them all in the storage dtype.

    With `absolute` the backward returns the sums of the absolute terms of each gradient instead, which bound the rounding
    errors of a sum even if its terms cancel. With `through_largest` too, the largest score of a row has the terms of the whole
    row: reverse mode through exp(score - max(score)) adds the sum of the row's d_scores to it, which is 0 but for rounding.

    Formula: P = exp(S - lse), dV = P^T dO, dP = dO V^T, dS = P (dP - sum dO O), dQ = scale dS K, dK = scale dS^T Q.

    >>> from tinyattn.engine import grad
    >>> k = np.eye(2)[None]
    >>> grad(lambda v: np.sum(recomputed("bfloat16")(k, k, v, mask=np.ones((1, 2, 2), bool))))(k)[0, :, 0]
    array([0.99804688, 0.99804688])
    """
    size = np.abs if absolute else np.asarray

    def step(x: Array) -> Array:
        return x if every == "float32" else rounded(x, every).astype(x.dtype)

    @primitive
    def attention(q: Array, k: Array, v: Array, *, mask: Array | None = None, bias: Array | None = None, scale: float | None = None,
                  softcap: float | None = None, sinks: Array | None = None) -> tuple[Array, Any]:
        factor, bias_shape = check_scale(scale, q.shape[-1]), None if bias is None else np.shape(bias)
        q, k, v = blank_unseen(q, k, v, mask)
        scores = step(scores_from(step(step(onto(q, np.swapaxes(k, -1, -2))) * factor), softcap, None, bias, mask))
        exps, total, shift = exponentials(scores, sinks)
        out, lse = weighted_values(exps, v) / nonzero(total), log_total(total, shift)
        capped = scores if bias is None else scores - bias
        return out, (q, k, v, factor, bias_shape, softcap, sinks, scores, capped, lse, out)

    @attention.backward
    def pull(d_out: Array, saved: Any) -> dict[str, Array]:
        q, k, v, factor, bias_shape, softcap, sinks, scores, capped, lse, out = saved
        with np.errstate(all="ignore"):
            weights = step(np.exp(step(scores - np.where(np.isfinite(lse), lse, 0.0)[..., None])))
            kept = weights if storage == "float32" else rounded(weights, storage).astype(weights.dtype)
            d_weights = onto(size(d_out), np.swapaxes(size(v), -1, -2))
            kept_out = out if stored == "float32" else rounded(out, stored).astype(out.dtype)
            delta = np.sum(size(d_out) * size(kept_out), axis=-1, keepdims=True)
            if stored != "float32":
                d_weights, delta = (rounded(x, stored).astype(out.dtype) for x in (d_weights, delta))
            d_scores = step(weights * step(d_weights + delta if absolute else d_weights - delta))
            if absolute and through_largest:
                first = np.arange(scores.shape[-1]) == np.argmax(scores, axis=-1, keepdims=True)
                d_scores = np.where(first, np.sum(d_scores, axis=-1, keepdims=True), d_scores)
            inner = d_scores
            if softcap is not None:
                inner = inner * np.where(np.isfinite(capped), 1.0 - (capped / softcap) ** 2, 0.0)
            if storage != "float32":
                inner = rounded(inner, storage).astype(inner.dtype)
        # Products per head, as in libraries that repeat the keys; those that do not round fewer numbers.
        inner = step(inner * size(factor))
        found = {"q": step(onto(inner, size(k))), "k": over_groups(step(inner.mT @ size(q)), k.shape[-3]),
                 "v": over_groups(step(kept.mT @ size(d_out)), v.shape[-3])}
        if bias_shape is not None:
            found["bias"] = summed_to(d_scores, bias_shape)
        if sinks is not None:
            share = np.exp(sinks[:, None, None] - np.where(np.isfinite(lse), lse, 0.0)[..., None])
            found["sinks"] = summed_to(share * delta * (1.0 if absolute else -1.0), (*sinks.shape, 1, 1)).reshape(sinks.shape)
        return {name: np.asarray(x, d_out.dtype) for name, x in found.items()}

    return attention


def summed_to(x: Array, shape: tuple[int, ...]) -> Array:
    """Returns x summed over the axes from which an array of this shape was stretched."""
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    stretched = tuple(axis for axis, n in enumerate(shape) if n == 1 and x.shape[axis] != 1)
    return x.sum(axis=stretched, keepdims=True) if stretched else x
