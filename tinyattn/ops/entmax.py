"""Entmax: a family of weights from softmax to the single largest score, most of which may be exactly 0."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import real
from tinyattn.ops.signature import floating
from tinyattn.ops.softmax import nonzero, softmax
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array

# Halvings of an interval from 1 / n to 1, after which a small number has all its digits. Newton takes fewer steps.
HALVINGS = 63


def check_alpha(alpha: float) -> float:
    """Returns alpha; raises ValueError below 1, for which the papers do not define entmax."""
    return real("alpha", alpha, least=1.0)


@widened
def entmax(scores: Array, alpha: float = 1.5) -> Array:
    """Returns the weights p of a row, ((alpha - 1) (s_j - t))_+^(1 / (alpha - 1)), with the t for which they sum to 1.

    alpha 1 is softmax and alpha 2 sparsemax. A score of -inf has the weight 0, and a row of which all scores are -inf has only
    weights of 0. scores (..., j) -> (..., j).

    Raises:
        TypeError, ValueError: scores that are not floating, an alpha that is not a finite number of at least 1.

    >>> entmax(np.array([1.0, 0.5, -1.0]), 2.0)
    array([0.75, 0.25, 0.  ])
    """
    scores, alpha = floating("scores", scores), check_alpha(alpha)
    if alpha == 1.0 or not scores.shape[-1]:
        return softmax(scores)
    # The largest weight of each row is found on constants, on which the choice of the keys with a weight is made. Two steps of
    # Newton then give it its first and second derivatives.
    plain = getattr(scores, "value", scores)
    top = plain.max(axis=-1, keepdims=True)
    top = np.where(np.isneginf(top), 0.0, top).astype(scores.dtype)
    largest, hidden = largest_weight(plain - top, alpha).astype(scores.dtype), plain - top == -np.inf
    # So far below the largest a score has no weight either, and infinity times a gradient of 0 would be NaN.
    below = np.where(hidden, -2.0 / (alpha - 1.0), scores - top)
    for _ in range(0 if plain is scores else 2):
        weights, slopes = weights_of(below, largest, alpha)
        largest = largest - (weights.sum(axis=-1, keepdims=True) - 1.0) / nonzero(slopes.sum(axis=-1, keepdims=True))
    return np.where(hidden, 0.0, weights_of(below, largest, alpha)[0])


def weights_of(below: Array, largest: Array, alpha: float) -> tuple[Array, Array]:
    """Returns the weights of scores that are 0 for a row's largest weight and else negative, and their derivatives by that weight.

    They are m (1 + (alpha - 1) s_j / m^(alpha - 1))_+^(1 / (alpha - 1)) for a largest weight m: the weights of the paper, in
    numbers that neither grow without bound as alpha falls to 1 nor lose the digits of small weights as it grows.
    """
    power = 1.0 / (alpha - 1.0)
    growth = np.minimum(largest ** (1.0 - alpha), np.finfo(below.dtype).max)
    less = (alpha - 1.0) * below * growth
    some = ~(less <= -1.0)  # NaN is kept, so that a row that holds one is NaN
    less = np.where(some, less, 0.0)
    share = 1.0 + less if power == 1.0 else (1.0 + less) ** 2 if power == 2.0 else np.exp(np.log1p(less) * power)
    # Of sparsemax the difference itself, whose digits are those of the scores.
    weights = np.where(some, largest + below if power == 1.0 else largest * share, 0.0)
    return weights, np.where(some, share / (1.0 + less), 0.0)


def largest_weight(below: Array, alpha: float) -> Array:
    """Returns each row's largest weight: from sorted scores for alpha 1.5 and 2, else by steps of Newton (below 2) or halving."""
    below = below.astype(np.float64)
    if alpha in (1.5, 2.0):
        return (-sorted_threshold((alpha - 1.0) * below, alpha)) ** (1.0 / (alpha - 1.0))
    low, high = np.full((*below.shape[:-1], 1), 1.0 / below.shape[-1]), np.ones((*below.shape[:-1], 1))
    if alpha < 2.0:
        # The sum of a row's weights is convex in the largest of them, and at least 1 at 1: from there the steps go down to the root.
        # A row that has arrived stays, however many steps others take: what they hold changes no bit of it.
        moving = np.ones(high.shape, bool)
        for _ in range(HALVINGS):
            weights, slopes = weights_of(below, high, alpha)
            step = (weights.sum(axis=-1, keepdims=True) - 1.0) / nonzero(slopes.sum(axis=-1, keepdims=True))
            high, moving = np.where(moving, np.maximum(high - step, low), high), moving & ~(np.abs(step) <= 1e-15)
            if not moving.any():
                break
        return high
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        less = weights_of(below, middle, alpha)[0].sum(axis=-1, keepdims=True) < 1.0
        low, high = np.where(less, middle, low), np.where(less, high, middle)
    return high


def sorted_threshold(scaled: Array, alpha: float) -> Array:
    """Returns t of weights (x_j - t)_+^(1 / (alpha - 1)) that sum to 1, for alpha 1.5 or 2 and rows whose largest x is 0.

    The n largest have a weight, for the largest n for which the least of them has one.
    """
    # At -1 there is no weight, whatever the others are; -inf would make sums NaN.
    ranked = -np.sort(-np.maximum(scaled, -1.0), axis=-1)
    count = np.arange(1, scaled.shape[-1] + 1)
    mean = np.cumsum(ranked, axis=-1) / count
    if alpha == 2.0:
        levels = mean - 1.0 / count
    else:
        spread = np.cumsum(ranked * ranked, axis=-1) / count - mean * mean
        levels = mean - np.sqrt(np.maximum(1.0 / count - spread, 0.0))
    last = np.maximum((levels < ranked).sum(axis=-1, keepdims=True), 1) - 1
    level: Array = np.take_along_axis(levels, last, axis=-1)
    return level
