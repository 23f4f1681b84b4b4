"""Sigmoid attention by the exact kernel: a softmax over the logs of sigmoids, times the sum that the softmax divides by."""

from __future__ import annotations

import numpy as np

from tinyattn.kernels.softmax.counts import counts_of
from tinyattn.kernels.softmax.dot_product import attention_with_lse
from tinyattn.ops.arguments import check_per_head
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, dense_bias, visible_keys
from tinyattn.ops.score_rule import ScoreRule
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def sigmoid_attention(q: Array, k: Array, v: Array, *, offset: Array | float | None = None, mask: Array | Pattern | None = None,
                      bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                      scale: float | None = None, softcap: float | None = None) -> Array:
    """Returns the sum of the visible values, each weighted by the sigmoid of its score plus an offset; compiled.

    Formula: out_i = exp(lse_i) softmax(x_i) v with x_ij = log sigmoid(s_ij + offset), so that exp(lse_i) is the sum of sigmoids.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.sigmoid_attention`.

    Paper: Ramapuram et al. 2024, arXiv:2409.04431.

    >>> sigmoid_attention(np.zeros((1, 1)), np.zeros((2, 1)), np.array([[3.0], [6.0]])).round(12)
    array([[3.]])
    """
    full = (*q.shape[:-1], k.shape[-2])
    seen = counts_of(mask, causal, window, full, q.dtype)
    shift = -np.log(np.maximum(seen, 1)) if offset is None else check_per_head("offset", offset, q)
    added, lost = dense_bias(bias, full, q.dtype), None
    if added is not None and np.isnan(added).any():
        # A rule takes no NaN: the rows that see one are NaN afterwards.
        visible, odd = visible_keys(mask, causal, window, full), np.isnan(added)
        added = np.where(odd, 0.0, added).astype(q.dtype)
        lost = np.any(np.broadcast_to(odd if visible is None else odd & visible, full), axis=-1)
    parts = (np.asarray(shift, q.dtype) if isinstance(shift, float) else shift, *(() if added is None else (added,)))
    out, lse = attention_with_lse(q, k, v, mask=mask, causal=causal, window=window, scale=scale, softcap=softcap,
                                  score=ScoreRule(log_of_sigmoid if added is None else log_of_biased, *parts))
    out = out * np.exp(lse)[..., None]
    return out if lost is None else np.where(lost[..., None], np.nan, out)


def log_of_sigmoid(s: Array, i: Array, j: Array, shift: Array) -> Array:
    """Returns log(1 / (1 + exp(-x))) of x = s + shift.

    With one log, and not by logaddexp, which takes twice as long: below -40 it is x, and above 0 the digits that 1 + exp(-x) loses
    are those that a weight near 1 does not have either.
    """
    x = s + shift
    return np.where(x < -40.0, x, -np.log(1.0 + np.exp(-np.maximum(x, -40.0))))


def log_of_biased(s: Array, i: Array, j: Array, shift: Array, bias: Array) -> Array:
    """Returns the same of x = s + shift + bias."""
    return log_of_sigmoid(s + bias, i, j, shift)
