"""The keys with the largest scores of each row, found tile by tile; of equal scores the earlier key is picked."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from tinyattn.kernels.chosen.above import lowest_bit, scores_above
from tinyattn.kernels.exact.primitive import Options, filled, scoring, work
from tinyattn.kernels.exact.scores import cap, key_range, keys_of_tile, score, tile_at, tiles_of
from tinyattn.kernels.tiles.jit import compiled, inlined
from tinyattn.kernels.tiles.product import product_set
from tinyattn.kernels.tiles.seen import seen_of
from tinyattn.kernels.tiles.storage import sizes_of
from tinyattn.kernels.tiles.threads import next_task, run
from tinyattn.kernels.tiles.vector import column_max, transpose_rows
from tinyattn.ops.types import Array

# Halvings of the range of a row's numbers before it is given up.
HALVINGS = 24
# Numbers whose largest is found side by side.
LANES = 16


def largest_keys(q: Array, k: Array, keep: int, bias: Array | None, distance: Array | None, options: Options) -> Array:
    """Returns the keys with the `keep` largest scores of each row, (..., i, keep) in order, -1 where fewer are not -inf.

    NaN counts as the largest number.
    """
    full = (*q.shape[:-1], k.shape[-2])
    picks, sizes = np.full((*full[:-1], keep), -1, np.int32), sizes_of(q, k, k)
    if picks.size and full[-1]:
        seen = seen_of(options.mask, options.left, options.right, full, sizes)
        room = min(2 * keep, full[-1]) + sizes.kv_tile
        padded_q, padded_k, _ = filled(q, k, k, sizes)
        run(pick, sizes.batch * sizes.heads * -(-sizes.q_len // sizes.q_tile), work(sizes) // 2, sizes,
            *scoring(options, seen, bias, distance, full, q.dtype), keep, room, padded_q, padded_k, picks.reshape(-1))
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


@compiled
def pick(counter, sizes, rules, heads, row_at, entries, bands, tiles, mask, mask_at, bias, bias_at, distance, keep, room,
         q, k, picks):
    """Fills picks [row][keep] with the keys of each row's largest scores; a task is one tile of queries.

    A row holds the scores that were above its bound and their keys, in order. When its `room` is nearly full they are thinned to
    the largest, or a few more, and the bound rises to one that `keep` of them reach: a later score that is no larger than the
    bound is not among the largest.
    """
    width, micro = sizes.q_tile, sizes.micro_columns
    nowhere, infinite = q.dtype.type(-np.inf), q.dtype.type(np.inf)
    s, q_t = np.empty(sizes.kv_tile * width, q.dtype), np.empty(sizes.head_width * width, q.dtype)
    values, places, spare = np.empty(width * room, q.dtype), np.empty(width * room, np.int32), np.empty(max(room, width), q.dtype)
    bounds, found = np.empty(width, q.dtype), np.empty(width, np.int64)
    count = (sizes.q_len + width - 1) // width
    while True:
        task = next_task(counter)
        if task >= sizes.batch * sizes.heads * count:
            break
        head = task // count
        i0 = (count - 1 - task % count) * width  # with a causal mask the last tiles are the longest: they go first
        rows = min(width, sizes.q_len - i0)
        kv_at = head // (sizes.heads // sizes.kv_heads) * sizes.kv_rows
        transpose_rows(q_t, width, q, (head * sizes.q_len + i0) * sizes.head_width, sizes.head_width, rows,
                       q.dtype.type(rules.factor), sizes.lanes, micro)
        for i in range(width):
            bounds[i] = nowhere if i < rows else infinite
            found[i] = 0
        low, high = key_range(i0, rows, sizes, rules)
        start, stop = tiles_of(head, i0, low, high, heads, row_at, sizes, rules)
        for n in range(start, stop):
            j0, kind, below, above = tile_at(n, i0, entries, bands, sizes, rules)
            if j0 >= high or j0 + sizes.kv_tile <= low:
                continue
            keys = keys_of_tile(j0, high, sizes)
            product_set(s, 0, width, micro, k, (kv_at + j0) * sizes.head_width, sizes.head_width, 1, q_t, sizes.head_width * micro,
                        keys, width, sizes.head_dim, micro, -above, -below)
            if rules.cap:
                cap(s, keys, sizes, rules, spare)
            score(s, head, kind, i0, j0, rows, keys, sizes, rules, tiles, mask, mask_at, bias, bias_at, distance)
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
                    values[at] = infinite if np.isnan(x) else x
                    places[at] = j0 + j
                    found[i] += 1
        for i in range(rows):
            at, taken = i * room, (head * sizes.q_len + i0 + i) * keep
            if found[i] > keep:
                found[i], _ = thinned(values[at:], places[at:], found[i], keep, keep, bounds[i], spare)
            for n in range(found[i]):
                picks[taken + n] = places[at + n]
