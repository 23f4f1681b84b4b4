"""Entmax attention, a block of rows at a time."""

from __future__ import annotations

import numpy as np

from tinyattn.kernels.exact.primitive import Options
from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.softmax.weighed import Weighing, weighed
from tinyattn.kernels.tiles.seen import sides_of
from tinyattn.ops.bias import Bias
from tinyattn.ops.entmax import check_alpha, entmax
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import (
    Window,
    check_causal,
    check_mask,
    check_scale,
    check_softcap,
    dense_bias,
    has_infinite,
    infinite_settled,
    visible_keys,
)
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def entmax_attention(q: Array, k: Array, v: Array, *, alpha: float = 1.5, mask: Array | Pattern | None = None,
                     bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                     scale: float | None = None, softcap: float | None = None) -> Array:
    """Returns attention whose weights are a power of the scores above a threshold; memory grows with one block of rows.

    Formula: P_ij = ((alpha - 1) (s_ij - t_i))_+^(1 / (alpha - 1)), d_s = r (d_P - sum(r d_P) / sum(r)), r = P^(2 - alpha).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.entmax_attention`.

    Paper: Peters et al. 2019, arXiv:1905.05702.

    >>> k = np.array([[2.0], [0.0], [0.0]])
    >>> entmax_attention(np.ones((1, 1)), k, np.eye(3))
    array([[1., 0., 0.]])
    """
    if check_alpha(alpha) == 1.0:
        return attention(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap)
    full = (*q.shape[:-1], k.shape[-2])
    mask, (left, right), added = check_mask(mask, full), sides_of(window), dense_bias(bias, full, q.dtype)
    right = 0 if check_causal(causal) else right
    if added is not None and has_infinite(added):
        added = infinite_settled(added, visible_keys(mask, causal, window, full), full)
    options = Options(mask, left, right, check_scale(scale, q.shape[-1]), check_softcap(softcap), learned=False)
    return weighed(q, k, v, added, weighing(alpha), options)[0]


def weighing(alpha: float) -> Weighing:
    """Returns entmax as weights of a row, with nothing left."""
    def form(scores: Array) -> tuple[Array, Array]:
        weights = entmax(scores, alpha)
        return weights, np.zeros(scores.shape[:-1], scores.dtype)

    def backward(scores: Array, d_weights: Array, d_rest: Array) -> Array:
        weights = entmax(scores, alpha)
        some = weights > 0
        slopes = np.where(some, np.where(some, weights, 1) ** scores.dtype.type(2.0 - alpha), 0)
        total = slopes.sum(axis=-1, keepdims=True)
        mean = (slopes * d_weights).sum(axis=-1, keepdims=True) / np.where(total == 0, 1, total)
        d_scores: Array = slopes * (d_weights - mean)
        return d_scores

    return Weighing(form, backward)
