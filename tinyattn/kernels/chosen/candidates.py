"""The largest numbers of a row that are known so far: which new ones are taken up, and which are dropped when there are many."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.tiles.above import lowest_bit, scores_above
from tinyattn.kernels.tiles.jit import inlined
from tinyattn.kernels.tiles.storage import Sizes, rounded_up
from tinyattn.kernels.tiles.vector import column_max

# Halvings of the range of a row's numbers before it is given up.
HALVINGS = 24
# Numbers whose largest is found side by side.
LANES = 16


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
def reached(x, count, bound):
    """Returns how many of the first `count` numbers are at least the bound."""
    found = 0
    for n in range(np.uint64(count)):
        found += x[n] >= bound
    return found


@inlined
def exceeded(x, count, bound):
    """Returns how many of the first `count` numbers are above the bound."""
    found = 0
    for n in range(np.uint64(count)):
        found += x[n] > bound
    return found


@inlined
def top_of(x, count, spare):
    """Returns the largest of the first `count` numbers, taken in registers."""
    top, whole = x.dtype.type(-np.inf), count // LANES
    for n in range(LANES):
        spare[n] = top
    column_max(x, whole, LANES, spare, spare)
    for n in range(LANES):
        top = max(top, spare[n])
    for n in range(whole * LANES, count):
        top = max(top, x[n])
    return top


@inlined
def bound_of(x, count, keep, most, low, spare):
    """Returns a number that is reached by `keep` to `most` of the first `count` numbers, none of them below `low`.

    It is found by halving the range of the numbers: counting takes registers at a time, and is some ten times as fast as the
    exchanges of `kth_largest`, which does what halving cannot.
    """
    high, half = top_of(x, count, spare), x.dtype.type(0.5)
    if low == -np.inf:
        low = x[0]
        for n in range(count):
            low = min(low, x[n])
    if low > -np.inf and high < np.inf:
        for _ in range(HALVINGS):
            middle = low * half + high * half
            found = reached(x, count, middle)
            if keep <= found <= most:
                return middle
            if found < keep:
                high = middle
            else:
                low = middle
    for n in range(count):
        spare[n] = x[n]
    return kth_largest(spare, count, keep)


@inlined
def thinned(values, places, count, keep, most, low, spare):
    """Leaves the `keep` largest of the first `count` numbers, or up to `most`, in order: of equal ones the earlier.

    Returns how many are left, and a number that `keep` of them reach. No number is below `low`.
    """
    bound = bound_of(values, count, keep, most, low, spare)
    ties = keep - exceeded(values, count, bound)
    left = np.uint64(0)
    if ties <= 0:
        for n in range(np.uint64(count)):
            value = values[n]
            values[left], places[left] = value, places[n]
            left += np.uint64(value > bound)
    else:
        for n in range(np.uint64(count)):
            value = values[n]
            equal = value == bound and ties > 0
            values[left], places[left] = value, places[n]
            left += np.uint64(value > bound or equal)
            ties -= equal
    return np.int64(left), bound


def room_of(keep: int, sizes: Sizes) -> int:
    """Returns how many scores a row has room for, a tile of new ones among them.

    An odd number of cache lines: with 256 numbers a row, so that rows displace each other, choosing took 1.25 times as long.
    """
    return rounded_up(min(2 * keep, sizes.kv_len) + sizes.kv_tile, LANES) | LANES


@inlined
def begin(rows, width, bounds, found):
    """Empties the rows of a tile; those after the last take up nothing."""
    for i in range(width):
        bounds[i] = -np.inf if i < rows else np.inf
        found[i] = 0


@inlined
def admit(s, keys, j0, width, keep, room, values, places, found, bounds, spare):
    """Takes up the scores of a tile, [key][row], that are above the bounds of their rows, and their keys; NaN as inf.

    Row i holds found[i] of at most `room` scores, in the order of their keys. When its room is nearly full they are thinned to the
    `keep` largest, or a few more, and the bound rises to one that `keep` of them reach: a later score that is no larger than the
    bound is not among the largest, and of equal ones the earlier is kept.
    """
    for i in range(width):
        if found[i] + keys > room:
            at = i * room
            found[i], bounds[i] = thinned(values[at:], places[at:], found[i], keep, keep + keep // 8, bounds[i], spare)
    for j in range(keys):
        bits = scores_above(s, j * width, width, bounds)
        while bits:
            i = lowest_bit(bits)
            bits &= bits - 1
            x, at = s[j * width + i], i * room + found[i]
            values[at] = s.dtype.type(np.inf) if np.isnan(x) else x
            places[at] = j0 + j
            found[i] += 1


@inlined
def settled(i, keep, room, values, places, found, bounds, spare):
    """Thins a row to its `keep` largest, which stand from i * room on; returns how many there are."""
    at = i * room
    if found[i] > keep:
        found[i], bounds[i] = thinned(values[at:], places[at:], found[i], keep, keep, bounds[i], spare)
    return found[i]
