"""The keys above a row's threshold, for weights that are a power of what lies above it: sparsemax, and entmax with alpha 1.5."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinyattn.kernels.rows.few import Few
from tinyattn.kernels.tiles import lanes
from tinyattn.kernels.tiles.jit import DISABLED, compiled, inlined, reassociated
from tinyattn.kernels.tiles.vector import column_max
from tinyattn.ops.types import Array

# Steps of Newton over a whole row, after which few keys may still have a weight: one for sparsemax and three for alpha 1.5 took the
# least time for 2,048 normal scores. Then steps in float64 over these keys.
ROUGH, ROUGH_SQUARE, FINE = 1, 3, 63
# What the rounding of a sum in float32 may take from a threshold, as a share of it: one key more changes nothing.
SLACK = 1 + 2.0 ** -12


def above(_context: Any, x: Any, at: Any, edge: Any) -> Any:
    """Returns the intrinsic that says whether any number of a register at x[at] is above the edge, or NaN."""
    def generate(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        array, place, least = arguments
        held = lanes.load(builder, builder.gep(context.make_array(x)(context, builder, array).data, [place]), vector)
        bits = builder.bitcast(builder.fcmp_unordered(">", held, lanes.splat(builder, least, vector)), ir.IntType(vector.count))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    vector = lanes.vector_type(x.dtype)
    return types.boolean(x, types.intp, x.dtype), generate


def above_in_numpy(x: Array, at: int, edge: Any) -> bool:
    """Returns the same in NumPy, for when nothing is compiled."""
    return not bool(np.all(x[at : at + lanes.lanes(x.itemsize)] <= edge))


any_above = above_in_numpy if DISABLED else intrinsic(above)


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
def kept(scores, first, last, edge, top, factor, n, keys, below):
    """Writes those of some keys whose score is above the edge from n on, and returns where they end."""
    for key in range(first, last):
        keys[n], below[n] = key, (scores[key] - top) * factor
        n += not scores[key] <= edge
    return n


@inlined
def candidates(scores, width, count, top, factor, level, n, keys, below):
    """Writes the keys that are less than level / factor below the top from n on, and returns where they end."""
    kind = scores.dtype.type
    edge = top - level / factor
    edge -= abs(edge) * kind(4 * np.finfo(scores.dtype).eps)
    whole = width // count
    for block in range(whole):
        if any_above(scores, block * count, edge):
            n = kept(scores, block * count, (block + 1) * count, edge, top, factor, n, keys, below)
    return kept(scores, whole * count, width, edge, top, factor, n, keys, below)


@compiled
def find(scores, width, count, square, starts, keys, roots):
    """Fills the keys of each row that have a weight, and their weights (s - t)_+ or the roots of ((s - t) / 2)_+^2.

    The sum of the weights is convex in the level of the top above the threshold, and at least 1 at the level 1: from there steps
    of Newton go down to the root, over the row while they are long, then over the keys that may have a weight.
    """
    kind = scores.dtype.type
    factor, spare, tops = kind(0.5 if square else 1.0), np.zeros(count, scores.dtype), np.zeros(count, scores.dtype)
    n = 0
    for row in range(starts.size - 1):
        line = scores[row * width : (row + 1) * width]
        top, level = highest(line, width, count, spare, tops), kind(1)
        if top == -np.inf:
            top = kind(0)
        for _ in range(ROUGH_SQUARE if square else ROUGH):
            total, slope = sums(line, width, top, factor, level, square)
            if total == 0:
                break
            level -= (total - kind(1)) / slope
        end = candidates(line, width, count, top, factor, level * kind(SLACK), n, keys, roots)
        exact = np.float64(level * kind(SLACK))
        for _ in range(FINE):
            fine_total, fine_slope = sums_of_few(roots, n, end, exact, square)
            if fine_total == 0:
                break
            step = (fine_total - 1) / fine_slope
            exact -= step
            if not step > 1e-15:
                break
        for m in range(n, end):
            root = roots[m] + exact
            keys[n], roots[n] = keys[m], kind(root)
            n += not root <= 0
        starts[row + 1] = n


def above_threshold(scores: Array, square: bool) -> Few:
    """Returns the keys of rows (..., rows, keys) that have a weight, and their weights or, of alpha 1.5, the roots of these."""
    width = scores.shape[-1]
    starts = np.zeros(math.prod(scores.shape[:-1]) + 1, np.int64)
    keys, roots = np.empty(scores.size, np.int32), np.empty(scores.size, scores.dtype)
    find(scores.reshape(-1), width, lanes.lanes(scores.itemsize), square, starts, keys, roots)
    return Few(starts, keys[: starts[-1]], roots[: starts[-1]])
