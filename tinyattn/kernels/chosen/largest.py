"""The keys with the largest scores of each row, found for some rows at a time; of equal scores the earlier key is picked."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.threads import next_task, run
from tinyattn.kernels.tiles.vector import column_max
from tinyattn.ops.options import Window
from tinyattn.ops.types import Array

# Scores that are held at once.
TOGETHER = 1 << 22
# A group is some scores of a row that stand a register's width apart; the threshold is found among the largest of each group.
GROUP, LANES = 16, 16
# Halvings of the range of a row's numbers before it is given up.
HALVINGS = 16
# Rows of one task.
ROWS = 16


def largest_keys(scores_of_rows: Callable[[int, int, int], Array], full: tuple[int, ...], keep: int, sides: Window) -> Array:
    """Returns the keys with the `keep` largest scores of each row, (..., i, keep) in no order, -1 where fewer are not -inf.

    `scores_of_rows(start, stop, keys)` returns the scores (..., stop - start, keys) of some rows and the first `keys` keys;
    `full` is the shape of all scores, (..., i, j), and `sides` is how far a row sees to the left and to the right of its own
    position, in which the last row and the last key agree. NaN counts as the largest number.
    """
    (left, right), (q_len, kv_len) = sides, full[-2:]
    picks = np.full((*full[:-1], keep), -1, np.int32)
    rows = max(1, TOGETHER // max(1, math.prod(full[:-2]) * kv_len))
    for start in range(0, q_len, rows):
        at = np.arange(start, min(q_len, start + rows)) + kv_len - q_len
        lows = np.clip(0 if left is None else at - left, 0, kv_len) + np.zeros_like(at)
        highs = np.clip(kv_len if right is None else at + right + 1, 0, kv_len) + np.zeros_like(at)
        scores = np.require(scores_of_rows(start, start + len(at), int(highs.max())), requirements=["C", "W"])
        if scores.size:
            made = np.empty((*scores.shape[:-1], keep), np.int32)
            run(pick, -(-made.size // (keep * ROWS)), scores.size, scores.shape[-1], keep, lows, highs, scores.reshape(-1),
                made.reshape(-1))
            picks[..., start : start + len(at), :] = made
    return picks


@inlined
def kth_largest(x, count, k):
    """Returns the k-th largest of the first `count` numbers of x, whose order it changes."""
    low, high = 0, count - 1
    while low < high:
        middle = x[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while x[i] > middle:
                i += 1
            while x[j] < middle:
                j -= 1
            if i <= j:
                x[i], x[j] = x[j], x[i]
                i, j = i + 1, j - 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            break
    return x[k - 1]


@inlined
def tops_of(scores, at, groups, tops):
    """Fills tops with the largest number of each group of a row: group LANES * b + c has b * GROUP * LANES + n * LANES + c."""
    for g in range(groups):
        tops[g] = -np.inf
    for g in range(0, groups, LANES):
        column_max(scores[at + g * GROUP :], GROUP, LANES, tops[g:], tops[g:])


@inlined
def without_nan(scores, at, count):
    """Writes inf in the place of NaN. They are counted first, by unsigned places, which takes registers of them at a time."""
    begin, odd = np.uint64(at), 0
    for x in range(np.uint64(count)):
        odd += scores[begin + x] != scores[begin + x]
    if odd:
        for x in range(at, at + count):
            if np.isnan(scores[x]):
                scores[x] = np.inf


@inlined
def reached(x, count, bound):
    """Returns how many of the first `count` numbers are at least the bound."""
    found = 0
    for n in range(np.uint64(count)):
        found += x[n] >= bound
    return found


@inlined
def bound_of(x, count, k, spare):
    """Returns a number that is reached by k of the first `count` numbers, or a few more.

    It is found by halving the range of the numbers: counting takes registers at a time, and is some ten times as fast as the
    exchanges of `kth_largest`, which does what halving cannot.
    """
    low, high, half = x[0], x[0], x.dtype.type(0.5)
    for n in range(count):
        low, high = min(low, x[n]), max(high, x[n])
    if low > -np.inf and high < np.inf:
        for _ in range(HALVINGS):
            middle = low * half + high * half
            found = reached(x, count, middle)
            if k <= found <= k + k // 8:
                return middle
            if found < k:
                high = middle
            else:
                low = middle
    for n in range(count):
        spare[n] = x[n]
    return kth_largest(spare, count, k)


@compiled
def pick(counter, keys, keep, lows, highs, scores, picks):
    """Fills picks [row][keep] from scores [row][keys], of which row r sees those from lows[r] to highs[r], NaN overwritten by inf.

    A number that `keep` of the groups reach is no larger than the keep-th largest score, and few scores are above it.
    """
    rows, nowhere = picks.size // keep, scores.dtype.type(-np.inf)
    step = GROUP * LANES
    tops, values, places = np.empty(keys // GROUP + LANES, scores.dtype), np.empty(keys, scores.dtype), np.empty(keys, np.int32)
    while True:
        first = next_task(counter) * ROWS
        if first >= rows:
            break
        for row in range(first, min(rows, first + ROWS)):
            low, high = lows[row % lows.size], highs[row % lows.size]
            at, count = row * keys + low, max(high - low, 0)
            wide = count // step
            bound, groups = nowhere, wide * LANES
            without_nan(scores, at, count)
            tops_of(scores, at, groups, tops)
            if groups > keep:
                bound = bound_of(tops, groups, keep, values)
            found = 0
            for g in range(groups):
                if tops[g] >= bound:
                    begin = g // LANES * step + g % LANES
                    for x in range(begin, begin + step, LANES):
                        if scores[at + x] >= bound and scores[at + x] > nowhere:
                            values[found], places[found] = scores[at + x], x
                            found += 1
            for x in range(wide * step, count):
                if scores[at + x] >= bound and scores[at + x] > nowhere:
                    values[found], places[found] = scores[at + x], x
                    found += 1
            least, last = nowhere, keys
            if found > keep:
                least = kth_largest(values, found, keep)
                # Of what equals the least there may be more than there is room for: the places up to `last` are picked.
                ties, room = 0, keep
                for n in range(found):
                    score = scores[at + places[n]]
                    room -= score > least
                    if score == least:
                        values[ties] = -places[n]
                        ties += 1
                if ties > room:
                    last = -int(kth_largest(values, ties, room))
            taken = 0
            for n in range(found):
                score = scores[at + places[n]]
                if score > least or (score == least and places[n] <= last):
                    picks[row * keep + taken] = low + places[n]
                    taken += 1
            for n in range(taken, keep):
                picks[row * keep + n] = -1
