"""Softmax, log-softmax and log-sum-exp: they do not overflow, and a row in which nothing is visible is not NaN."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import booleans, check_broadcast
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


def exponentials(scores: Array, sinks: Array | None = None) -> tuple[Array, Array, Array]:
    """Returns the parts of a softmax before its division: exp(scores - shift), the total of each row, and the shift.

    shift_i = floor(max_j scores_ij), or 0 where all scores of a row are -inf. A sink is one logit per head; it only adds
    exp(sink - shift) to the total of each row of its head (arXiv:2508.10925).
    scores (..., heads, i, j), sinks (heads,) -> (..., heads, i, j), (..., heads, i, 1), (..., heads, i, 1).

    >>> exps, total, shift = exponentials(np.array([[0.0, 1.5]]))
    >>> float(total[0, 0] * np.exp(shift[0, 0])) == float(np.exp(0.0) + np.exp(1.5))
    True
    """
    if sinks is not None:
        sinks = sinks[:, None, None]
    if scores.shape[-1]:
        top = scores.max(axis=-1, keepdims=True)
        if sinks is not None:
            top = np.maximum(top, sinks)
        shift = row_shift(top)
    else:
        shift = np.zeros((*scores.shape[:-1], 1), scores.dtype)
        if sinks is not None:
            shift = shift + np.floor(sinks)
    # A row with +inf becomes NaN (inf - inf), without a warning. A score too far below the largest for the dtype becomes 0.
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        exps = np.exp(scores - shift)
        total = exps.sum(axis=-1, keepdims=True)
        if sinks is not None:
            total = total + np.exp(sinks - shift)
    return exps, total, shift


def row_shift(top: Array) -> Array:
    """Returns the number to subtract from a row whose largest score is `top`: floor(top), or 0 for -inf.

    The shift has no effect on a softmax, so it need not have a gradient. np.floor has none, which saves a pass over the
    scores in the backward.
    """
    shift = np.floor(top)
    return np.where(shift == -np.inf, 0.0, shift).astype(top.dtype)


def nonzero(total: Array) -> Array:
    """Returns the totals with every 0 replaced by 1, so that dividing by them gives 0 in an empty row."""
    return np.where(total == 0, 1.0, total)


@widened
def softmax(scores: Array, visible: Array | None = None, sinks: Array | None = None) -> Array:
    """Returns exp(s_ij) / (sum_j exp(s_ij) + exp(sink)) over the visible j; a row in which none is visible is 0.

    scores (..., heads, i, j), visible broadcastable to it, sinks (heads,) -> (..., heads, i, j).

    >>> softmax(np.array([[0.0, 0.0], [0.0, -np.inf]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    exps, total, _ = exponentials(*checked(scores, visible, sinks))
    return exps / nonzero(total)


@widened
def logsumexp(scores: Array, visible: Array | None = None, sinks: Array | None = None) -> Array:
    """Returns log(sum_j exp(s_ij) + exp(sink)) over the visible j, natural log; -inf for an empty row.

    scores (..., heads, i, j), sinks (heads,) -> (..., heads, i).

    >>> float(logsumexp(np.zeros((1, 4)))[0]) == float(np.log(4.0))
    True
    """
    _, total, shift = exponentials(*checked(scores, visible, sinks))
    return log_total(total, shift)


def log_total(total: Array, shift: Array) -> Array:
    """Returns shift + log(total) without the last axis, -inf where the total is 0."""
    logs = np.where(total == 0, -np.inf, np.log(nonzero(total)) + shift)
    return logs.reshape(logs.shape[:-1])


@widened
def log_softmax(scores: Array, visible: Array | None = None) -> Array:
    """Returns s_ij - log sum_j exp(s_ij) over the visible j, and -inf for the others.

    scores (..., i, j) -> (..., i, j).

    >>> log_softmax(np.array([[0.0, -np.inf]]))
    array([[  0., -inf]])
    """
    scores, _ = checked(scores, visible, None)
    lse = logsumexp(scores)
    finite = np.where(lse == -np.inf, 0.0, lse)
    with np.errstate(over="ignore"):  # a difference below the range of the dtype is -inf
        return scores - finite.reshape(*finite.shape, 1)


def checked(scores: Array, visible: Array | None, sinks: Array | None) -> tuple[Array, Array | None]:
    """Returns the scores with -inf where not visible, and the sinks; raises an error that names the wrong argument.

    Hidden scores are replaced by selection, not by multiplication, so that a hidden NaN disappears too.
    """
    scores = floating("scores", scores)
    if not scores.ndim:
        raise ValueError("scores: expected at least one axis, got a single number")
    if sinks is not None:
        sinks = floating("sinks", sinks)
        if scores.ndim < 3 or sinks.shape != scores.shape[-3:-2]:
            raise ValueError(f"sinks: expected one logit per head of scores (..., heads, i, j), got shape {sinks.shape} "
                             f"for scores {scores.shape}")
    if visible is None:
        return scores, sinks
    visible = booleans("visible", visible, "a boolean array (True is visible)")
    check_broadcast("visible", visible.shape, scores.shape, "scores")
    return np.where(visible, scores, -np.inf), sinks
