"""Sigmoid attention in tiles; with a cap, a pattern or a learned bias by the exact kernel, as a softmax over the logs of sigmoids."""

from __future__ import annotations

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact.primitive import Options
from tinyattn.kernels.rows.weighings import Saved, fits, sigmoid_gradients, sigmoids
from tinyattn.kernels.softmax.counts import counts_of
from tinyattn.kernels.softmax.dot_product import attention_with_lse
from tinyattn.kernels.tiles.once import once
from tinyattn.kernels.tiles.seen import sides_of
from tinyattn.ops.arguments import check_per_head
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_causal, check_mask, check_scale, check_softcap, dense_bias, visible_keys
from tinyattn.ops.score_rule import ScoreRule
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def sigmoid_attention(q: Array, k: Array, v: Array, *, offset: Array | float | None = None, mask: Array | Pattern | None = None,
                      bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                      scale: float | None = None, softcap: float | None = None) -> Array:
    """Returns the sum of the visible values, each weighted by the sigmoid of its score plus an offset; compiled.

    Formula: out_i = sum_j sigmoid(s_ij + offset) v_j.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.sigmoid_attention`.

    Paper: Ramapuram et al. 2024, arXiv:2409.04431.

    >>> sigmoid_attention(np.zeros((1, 1)), np.zeros((2, 1)), np.array([[3.0], [6.0]])).round(12)
    array([[3.]])
    """
    full = (*q.shape[:-1], k.shape[-2])
    seen = counts_of(mask, causal, window, full, q.dtype)
    shift = -np.log(np.maximum(seen, 1)) if offset is None else check_per_head("offset", offset, q)
    shift = np.asarray(shift, q.dtype) if isinstance(shift, float) else shift
    shown, (left, right) = check_mask(mask, full), sides_of(window)
    right, factor, cap = 0 if check_causal(causal) else right, check_scale(scale, q.shape[-1]), check_softcap(softcap)
    added = dense_bias(bias, full, q.dtype)
    options = Options(shown, left, right, factor, cap, learned=added is not None and not isinstance(added, np.ndarray))
    if fits(q, k, v, options):
        return in_tiles(q, k, v, np.broadcast_to(shift, (*full[:-1], 1))[..., 0], added, options)
    return by_logs(q, k, v, shift, added, mask, causal, window, scale, softcap)


@once
@primitive
def in_tiles(q: Array, k: Array, v: Array, shift: Array, bias: Array | None, options: Options) -> tuple[Array, Saved]:
    """Returns (out, what the backward reads) of plain arrays, shift (..., heads, i)."""
    return sigmoids(q, k, v, shift, bias, options)


@in_tiles.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array]:
    return sigmoid_gradients(d_out, saved)


def by_logs(q: Array, k: Array, v: Array, shift: Array, added: Array | None, mask: Array | Pattern | None, causal: bool,
            window: Window | None, scale: float | None, softcap: float | None) -> Array:
    """Returns exp(lse_i) softmax(x_i) v with x_ij = log sigmoid(s_ij + shift), so that exp(lse_i) is the sum of sigmoids."""
    full, lost = (*q.shape[:-1], k.shape[-2]), None
    if added is not None and np.isnan(added).any():
        # A rule takes no NaN: the rows that see one are NaN afterwards.
        visible, odd = visible_keys(mask, causal, window, full), np.isnan(added)
        added = np.where(odd, 0.0, added).astype(q.dtype)
        lost = np.any(np.broadcast_to(odd if visible is None else odd & visible, full), axis=-1)
    parts = (shift, *(() if added is None else (added,)))
    out, lse = attention_with_lse(q, k, v, mask=mask, causal=causal, window=window, scale=scale, softcap=softcap,
                                  score=ScoreRule(log_of_sigmoid if added is None else log_of_biased, *parts))
    out = out * np.exp(lse)[..., None]
    return out if lost is None else np.where(lost[..., None], np.nan, out)


def log_of_sigmoid(s: Array, i: Array, j: Array, shift: Array) -> Array:
    """Returns log(1 / (1 + exp(-x))) of x = s + shift.

    It takes one log and not logaddexp, which takes twice as long. Below -40 it is x; above 0 the digits that 1 + exp(-x) loses are
    digits that a weight near 1 does not have either.
    """
    x = s + shift
    return np.where(x < -40.0, x, -np.log(1.0 + np.exp(-np.maximum(x, -40.0))))


def log_of_biased(s: Array, i: Array, j: Array, shift: Array, bias: Array) -> Array:
    """Returns the same of x = s + shift + bias."""
    return log_of_sigmoid(s + bias, i, j, shift)
