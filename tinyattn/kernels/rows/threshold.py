"""The keys above a row's threshold, for weights that are a power of the score's excess over it: sparsemax and entmax."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn.kernels.rows.few import Few
from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.above import lowest_bit, scores_above
from tinyattn.kernels.tiles.jit import compiled, inlined, reassociated
from tinyattn.kernels.tiles.vector import column_max
from tinyattn.ops.types import Array

# Steps of Newton at most; over a whole row while they are longer than this share of the level that they reach. For 1,024 normal scores
# times 0.2, 1 and 3, shares of 1 took up to three times as long as these, and smaller ones as long.
STEPS, LONG = 63, 0.125
# What the rounding of a sum in float32 may take from a threshold, as a share of it: one key more has no effect.
SLACK = 1 + 2.0 ** -12
# Scores that are compared with their bound at once.
TOGETHER = 64


@inlined
def highest(scores, width, count, spare, tops):
    """Returns the largest number of a row, -inf where all are -inf or NaN."""
    for lane in range(count):
        tops[lane] = -np.inf
    column_max(scores, width // count, count, spare, tops)
    top = tops[0]
    for lane in range(1, count):
        top = max(top, tops[lane])
    for c in range(width // count * count, width):
        if scores[c] > top:
            top = scores[c]
    return top


@reassociated
def sums(scores, width, top, factor, level, square):
    """Returns the sum of the weights (factor (s - top) + level)_+, or their squares, and its derivative by the level."""
    zero = scores.dtype.type(0)
    one, total, slope = scores.dtype.type(1), zero, zero
    if square:
        for c in range(width):
            root = (scores[c] - top) * factor + level
            root = zero if root < zero else root  # NaN stays, so that a row that holds one is NaN
            total += root * root
            slope += root
        return total, slope + slope
    for c in range(width):
        root = (scores[c] - top) * factor + level
        root = zero if root < zero else root
        total += root
        slope += one if root > zero else zero
    return total, slope


@reassociated
def sums_of_few(below, first, last, level, square):
    """Returns the same in float64, of numbers that are factor (s - top)."""
    total = slope = 0.0
    for n in range(first, last):
        root = np.float64(below[n]) + level
        root = 0.0 if root < 0 else root
        total += root * root if square else root
        slope += 2 * root if square else np.float64(root > 0)
    return total, slope


@inlined
def candidates(scores, width, count, top, factor, level, n, keys, below, edges):
    """Writes the keys that are less than level / factor below the top from n on, and returns where they end; `edges` is spare."""
    kind = scores.dtype.type
    edge = top - level / factor
    edge -= abs(edge) * kind(4 * np.finfo(scores.dtype).eps)
    whole = width // count * count
    for lane in range(TOGETHER):
        edges[lane] = edge
    for first in range(0, whole, TOGETHER):
        bits = scores_above(scores, first, min(TOGETHER, whole - first), edges)
        while bits:
            key = first + lowest_bit(bits)
            keys[n], below[n] = key, (scores[key] - top) * factor
            n += 1
            bits &= bits - 1
    for key in range(whole, width):
        keys[n], below[n] = key, (scores[key] - top) * factor
        n += not scores[key] <= edge
    return n


@compiled
def find(scores, width, count, square, starts, keys, roots):
    """Fills the keys of each row that have a weight, and their weights (s - t)_+ or the roots of ((s - t) / 2)_+^2.

    The sum of the weights is convex in the level of the top above the threshold, and at least 1 at the level 1: from there steps
    of Newton go down to the root, over the row while they are long, then over the keys that may have a weight.
    """
    kind = scores.dtype.type
    factor, spare, tops = kind(0.5 if square else 1.0), np.zeros(count, scores.dtype), np.zeros(count, scores.dtype)
    edges = np.empty(TOGETHER, scores.dtype)
    n = 0
    for row in range(starts.size - 1):
        line = scores[row * width : (row + 1) * width]
        top, level = highest(line, width, count, spare, tops), kind(1)
        if top == -np.inf:
            top = kind(0)
        for _ in range(STEPS):
            total, slope = sums(line, width, top, factor, level, square)
            if total == 0:
                break
            step = (total - kind(1)) / slope
            level -= step
            if not step > kind(LONG) * level:
                break
        end = candidates(line, width, count, top, factor, level * kind(SLACK), n, keys, roots, edges)
        exact = np.float64(level * kind(SLACK))
        for _ in range(STEPS):
            fine_total, fine_slope = sums_of_few(roots, n, end, exact, square)
            if fine_total == 0:
                break
            fine_step = (fine_total - 1) / fine_slope
            exact -= fine_step
            if not fine_step > 1e-15:
                break
        for m in range(n, end):
            root = roots[m] + exact
            keys[n], roots[n] = keys[m], kind(root)
            n += not root <= 0
        starts[row + 1] = n


@compiled
def find_near(scores, width, count, gap, starts, keys, below):
    """Fills the keys of each row whose score is less than `gap` below the largest one, and how far below it is: a number up to 0."""
    one, spare, tops = scores.dtype.type(1), np.zeros(count, scores.dtype), np.zeros(count, scores.dtype)
    edges = np.empty(TOGETHER, scores.dtype)
    n = 0
    for row in range(starts.size - 1):
        line = scores[row * width : (row + 1) * width]
        top = highest(line, width, count, spare, tops)
        if top == -np.inf:
            top = scores.dtype.type(0)
        total, _ = sums(line, width, top, one, gap, False)
        n = candidates(line, width, count, top, one, gap + (total - total), n, keys, below, edges)  # all keys of a row with NaN or inf
        starts[row + 1] = n


def above_threshold(scores: Array, square: bool) -> Few:
    """Returns the keys of rows (..., rows, keys) that have a weight, and their weights or, of alpha 1.5, the roots of these."""
    return filled(find, scores, square)


def near_top(scores: Array, gap: float) -> Few:
    """Returns the keys of rows (..., rows, keys) whose score is less than `gap` below the largest of its row, less that one."""
    return filled(find_near, scores, scores.dtype.type(gap))


def filled(kernel: Any, scores: Array, option: Any) -> Few:
    """Returns what one of these kernels finds in all rows."""
    starts = np.zeros(math.prod(scores.shape[:-1]) + 1, np.int64)
    keys, numbers = np.empty(scores.size, np.int32), np.empty(scores.size, scores.dtype)
    kernel(scores.reshape(-1), scores.shape[-1], lanes.lanes(scores.itemsize), option, starts, keys, numbers)
    return Few(starts, keys[: starts[-1]], numbers[: starts[-1]])
