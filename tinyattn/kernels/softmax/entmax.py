"""Entmax attention: with alpha 1.5 and 2 in tiles, else, or with a cap or a pattern, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.exact.primitive import Options
from tinyattn.kernels.rows.few import Few
from tinyattn.kernels.rows.threshold import above_threshold, near_top
from tinyattn.kernels.rows.thresholds import Saved, above, above_gradients, fits
from tinyattn.kernels.softmax.weighed import Weighing, pulled, weighed, weighed_in_numpy
from tinyattn.kernels.tiles.rows import again
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
from tinyattn.ops.softmax import softmax
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
    full = (*q.shape[:-1], k.shape[-2])
    mask, (left, right) = check_mask(mask, full), sides_of(window)
    right = 0 if check_causal(causal) else right
    options = Options(mask, left, right, check_scale(scale, q.shape[-1]), check_softcap(softcap), learned=False)
    added = dense_bias(bias, full, q.dtype)
    if added is not None and has_infinite(added):
        added = infinite_settled(added, visible_keys(mask, causal, window, full), full)
    if check_alpha(alpha) in (1.5, 2.0) and (added is None or isinstance(added, np.ndarray)) and fits(q, k, v, options):
        return above_in_tiles(q, k, v, added, alpha, options)
    return weighed(q, k, v, added, weighing(alpha), options)[0]


def entmax_in_numpy(q: Array, k: Array, v: Array, bias: Array | None, alpha: float, options: Options) -> Array:
    """Returns `above_in_tiles` by functions that have rules."""
    return weighed_in_numpy(q, k, v, bias, weighing(alpha), options)[0]


@again(entmax_in_numpy)
@primitive
def above_in_tiles(q: Array, k: Array, v: Array, bias: Array | None, alpha: float, options: Options) -> tuple[Array, Saved]:
    """Returns (out, what the backward reads) of plain arrays, for an alpha of 1.5 or 2."""
    return above(q, k, v, bias, alpha == 1.5, options)


@above_in_tiles.backward_giving
def _(d_out: Array, saved: Saved) -> dict[str, Array]:
    return above_gradients(d_out, saved)


def weighing(alpha: float) -> Weighing:
    """Returns entmax as weights of a row; there is no rest. All keys have a weight by alpha 1, which is softmax."""
    def plain(scores: Array) -> tuple[Array, Array]:
        return entmax(scores, alpha), np.zeros(scores.shape[:-1], scores.dtype)

    def form(scores: Array, skip: bool) -> tuple[Array, Array]:
        return plain(scores)

    def backward(scores: Array, rest: Array, d_weights: Callable[[int], Array], d_rest: Array, skip: bool) -> tuple[Array, Array]:
        weights = softmax(scores)
        return weights, pulled(weights, d_weights(0))

    def few(scores: Array) -> tuple[Few, Few] | None:
        return None if alpha == 1.0 else found(scores, alpha)

    return Weighing(plain, form, backward, few)


def found(scores: Array, alpha: float) -> tuple[Few, Few]:
    """Returns the weights, and their derivatives up to a factor per row."""
    if alpha == 1.5:
        roots = above_threshold(scores, True)
        return roots._replace(numbers=roots.numbers ** 2), roots
    if alpha == 2.0:
        keys = above_threshold(scores, False)
        return keys, keys._replace(numbers=np.where(np.isnan(keys.numbers), keys.numbers, 1).astype(scores.dtype))
    near = near_top(scores, 1.0 / (alpha - 1.0))  # a score that is so far below the largest has no weight
    weights = weights_of(near.numbers, largest_of(near, alpha)[near.rows()], alpha)[0]
    some = ~(weights <= 0)
    slopes = np.where(some, np.where(some, weights, 1) ** scores.dtype.type(2.0 - alpha), 0)
    return near._replace(numbers=weights), near._replace(numbers=slopes)


def largest_of(near: Few, alpha: float) -> Array:
    """Returns the largest weight of each row, found together with those of rows that have about as many keys.

    How a row's sums are taken, and so their last digits, depends on its own keys alone and not on those of other rows.
    """
    counts = near.counts()
    widths = 1 << np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64)
    largest = np.empty(counts.size, near.numbers.dtype)
    for width in np.unique(widths):
        alike = widths == width
        some = near.of_rows(alike)
        rows, line = some.rows(), np.cumsum(alike) - 1
        below = np.full((line[-1] + 1, width), -np.inf, largest.dtype)
        below[line[rows], np.arange(rows.size) - some.starts[rows]] = some.numbers
        largest[alike] = largest_weight(below, alpha)[:, 0]
    return largest
