"""Entmax attention, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinyattn.kernels.exact.primitive import Options
from tinyattn.kernels.rows.few import Few
from tinyattn.kernels.rows.threshold import above_threshold
from tinyattn.kernels.softmax.weighed import Weighing, weighed
from tinyattn.kernels.tiles.seen import sides_of
from tinyattn.ops.bias import Bias
from tinyattn.ops.entmax import check_alpha, entmax, largest_weight, weights_of
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

# Of so many keys of a block at most one may have a weight for the others to be left out of the products.
FEW = 8


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
    full = (*q.shape[:-1], k.shape[-2])
    mask, (left, right), added = check_mask(mask, full), sides_of(window), dense_bias(bias, full, q.dtype)
    right = 0 if check_causal(causal) else right
    if added is not None and has_infinite(added):
        added = infinite_settled(added, visible_keys(mask, causal, window, full), full)
    options = Options(mask, left, right, check_scale(scale, q.shape[-1]), check_softcap(softcap), learned=False)
    return weighed(q, k, v, added, weighing(check_alpha(alpha)), options)[0]


def weighing(alpha: float) -> Weighing:
    """Returns entmax as weights of a row; the rest is what the backward makes the weights from, if alpha is not 1.5 or 2."""
    def plain(scores: Array) -> tuple[Array, Array]:
        weights = entmax(scores, alpha)
        return weights, np.zeros(scores.shape[:-1], scores.dtype)

    def form(scores: Array, skip: bool) -> tuple[Array, Array]:
        if alpha == 1.0:
            return plain(scores)
        if alpha in (1.5, 2.0):
            return found(scores, alpha)[0].dense(scores.shape), np.zeros(scores.shape[:-1], scores.dtype)
        top = tops(scores)
        with np.errstate(all="ignore"):
            largest = largest_of(scores, top, alpha)
            scores -= top
            return powers(scores, largest[..., None], alpha)[0], largest

    def backward(scores: Array, rest: Array, d_weights: Callable[[int], Array], d_rest: Array, skip: bool) -> tuple[Array, Array]:
        if alpha == 1.0:
            weights = slopes = entmax(scores, alpha)
        elif alpha in (1.5, 2.0):
            weights, slopes = (part.dense(scores.shape) for part in found(scores, alpha))
        else:
            with np.errstate(all="ignore"):
                scores -= tops(scores)
                weights, slopes = powers(scores, rest[..., None], alpha)
        total, d_scores = slopes.sum(axis=-1), d_weights(0)
        d_scores -= (np.vecdot(slopes, d_scores) / np.where(total == 0, 1, total))[..., None]
        d_scores *= slopes
        return weights, d_scores

    def few(scores: Array) -> tuple[Few, Few] | None:
        parts = found(scores, alpha) if alpha in (1.5, 2.0) else None
        return None if parts is None or parts[0].numbers.size * FEW > scores.size else parts

    return Weighing(plain, form, backward, few)


def found(scores: Array, alpha: float) -> tuple[Few, Few]:
    """Returns the weights of alpha 1.5 or 2, and their derivatives up to a factor per row."""
    square = alpha == 1.5
    keys = above_threshold(scores, square)
    if square:
        return keys._replace(numbers=keys.numbers ** 2), keys
    return keys, keys._replace(numbers=np.where(np.isnan(keys.numbers), keys.numbers, 1).astype(scores.dtype))


def tops(scores: Array) -> Array:
    """Returns the largest score of each row, (heads, rows, 1), 0 where all are hidden."""
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    return np.where(np.isneginf(top), 0, top)


def largest_of(scores: Array, top: Array, alpha: float) -> Array:
    """Returns the largest weight of each row, from the few scores that are near enough to the largest one to have a weight."""
    width = scores.shape[-1]
    near = 1.0 / (alpha - 1.0)  # a score that is so far below has no weight
    edge = top - scores.dtype.type(near)
    edge -= np.abs(edge) * (4 * np.finfo(scores.dtype).eps)  # rounding must lose none: one more changes nothing
    flat = np.flatnonzero(scores > edge)
    rows = flat // max(width, 1)
    count = np.bincount(rows, minlength=top.size)
    most = int(count.max(initial=1))
    if 2 * most > width or not np.isfinite(top).all():
        below = scores - top
    else:
        place = np.arange(len(flat)) - (np.cumsum(count) - count)[rows]
        below = np.full((top.size, most), -np.inf, scores.dtype)
        below[rows, place] = scores.reshape(-1)[flat] - top.reshape(-1)[rows]
    largest: Array = largest_weight(below, alpha).reshape(top.shape[:-1]).astype(scores.dtype)
    return largest


def powers(below: Array, largest: Array, alpha: float) -> tuple[Array, Array]:
    """Returns the weights of scores less the largest of their row, and their derivatives up to a factor per row."""
    weights = np.where(below == -np.inf, 0, weights_of(below, largest, alpha)[0])
    some = weights > 0
    return weights, np.where(some, np.where(some, weights, 1) ** below.dtype.type(2.0 - alpha), 0)
