"""The patterns that papers and libraries name, each with its answer for a block of pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tinyattn.ops.checks import LARGEST, integers, one_axis, whole
from tinyattn.ops.masks.pattern import Corners, Pattern, band, renamed
from tinyattn.ops.types import Array


def causal() -> Pattern:
    """Returns j <= i: a query sees no later key.

    >>> causal().dense(2, 2)
    array([[ True, False],
           [ True,  True]])
    """
    return renamed(blocks_apart(0, None), "causal()")


def causal_top_left(q_len: int, kv_len: int) -> Pattern:
    """Returns j <= i - (kv_len - q_len): the first query sees only the first key, as with PyTorch's is_causal.

    >>> causal_top_left(2, 3).dense(2, 3)
    array([[ True, False, False],
           [ True,  True, False]])
    """
    shift = whole("kv_len", kv_len, 0) - whole("q_len", q_len, 0)
    return renamed(blocks_apart(shift, None), f"causal_top_left({q_len}, {kv_len})")


def window(left: int | None, right: int | None) -> Pattern:
    """Returns i - left <= j <= i + right: the keys on each side besides the query's own position; None is unbounded.

    >>> window(1, 0).dense(3, 3).sum(axis=1)
    array([1, 2, 2])
    """
    least = None if right is None else -whole("right", right, 0)
    return renamed(blocks_apart(least, None if left is None else whole("left", left, 0)), f"window({left}, {right})")


def blocks_apart(least: int | None, most: int | None, *, size: int = 1, shift: int = 0) -> Pattern:
    """Returns least <= (i + shift) // size - (j + shift) // size <= most; None is unbounded.

    The block of the key lies `least` to `most` blocks before the block of the query. With size 1 the blocks are positions.

    >>> blocks_apart(1, 1, size=2).dense(4, 4)[2]
    array([ True,  True, False, False])
    """
    def block(positions: Array) -> Array:
        return positions if size == 1 else (positions + shift) // size

    low, high = -math.inf if least is None else least, math.inf if most is None else most

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        nearest, farthest = block(i0) - block(j1), block(i1) - block(j0)
        return (farthest >= low) & (nearest <= high), (nearest >= low) & (farthest <= high)

    return Pattern(lambda i, j: band(block(i), block(j), most, None if least is None else -least), corners=corners)


def sliding_window(width: int) -> Pattern:
    """Returns window(width - 1, 0): causal attention to `width` keys, the query's own included. arXiv:2310.06825.

    >>> sliding_window(2).dense(3, 3).sum(axis=1)
    array([1, 2, 2])
    """
    width = whole("width", width, 1)
    return renamed(window(width - 1, 0), f"sliding_window({width})")


def first(n: int) -> Pattern:
    """Returns j < n: the first n keys.

    >>> first(1).dense(1, 3)
    array([[ True, False, False]])
    """
    n = whole("n", n, 0)
    return Pattern(lambda i, j: j < n, corners=lambda i0, i1, j0, j1: (j0 < n, j1 < n), text=f"first({n})")


def prefix(n: int) -> Pattern:
    """Returns causal() | first(n): all queries see the first n keys, and are causal after them. arXiv:1910.10683.

    >>> prefix(2).dense(3, 3)[0]
    array([ True,  True, False])
    """
    return renamed(causal() | first(n), f"prefix({n})")


def strided(n: int) -> Pattern:
    """Returns i >= j and (i - j) % n == 0: every n-th key back from the query. arXiv:1904.10509.

    >>> strided(2).dense(1, 4)
    array([[False,  True, False,  True]])
    """
    n = whole("n", n, 1)
    return Pattern(lambda i, j: (i >= j) & ((i - j) % n == 0), corners=stride_corners(n, None), text=f"strided({n})")


def dilated(width: int, rate: int) -> Pattern:
    """Returns 0 <= i - j < width * rate and (i - j) % rate == 0: `width` keys at distances of `rate`. arXiv:2004.05150.

    >>> dilated(2, 2).dense(1, 6)
    array([[False, False, False,  True, False,  True]])
    """
    width, rate = whole("width", width, 1), whole("rate", rate, 1)
    farthest = (width - 1) * rate
    return Pattern(lambda i, j: (i >= j) & (i - j <= farthest) & ((i - j) % rate == 0),
                   corners=stride_corners(rate, min(farthest, LARGEST)), text=f"dilated({width}, {rate})")


def stride_corners(step: int, farthest: int | None) -> Corners:
    """Returns the corner function of a pattern that sees the distances 0, step, 2 step, ... up to the farthest."""
    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        least, most = i0 - j1, i1 - j0
        reach = most if farthest is None else np.minimum(most, farthest)
        some = (reach >= 0) & (reach // step * step >= np.maximum(least, 0))
        inside = (least >= 0) & (most <= reach)
        return some, inside & ((step == 1) | ((least == most) & (least % step == 0)))
    return corners


def block_local(size: int) -> Pattern:
    """Returns i // size == j // size: each block sees only itself.

    >>> block_local(2).dense(3, 3)[2]
    array([False, False,  True])
    """
    size = whole("size", size, 1)
    return renamed(blocks_apart(0, 0, size=size), f"block_local({size})")


def global_tokens(indices: Sequence[int] | Array) -> Pattern:
    """Returns i in indices or j in indices: these tokens see all others, and all others see them. arXiv:2004.05150.

    >>> global_tokens([0]).dense(2, 2)
    array([[ True,  True],
           [ True, False]])
    """
    chosen = tokens("indices", indices)

    def held(low: Array, high: Array) -> tuple[Any, Any]:
        number = np.searchsorted(chosen, high, side="right") - np.searchsorted(chosen, low)
        return number > 0, number == high - low + 1

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        (some_i, every_i), (some_j, every_j) = held(i0, i1), held(j0, j1)
        return some_i | some_j, every_i | every_j

    return Pattern(lambda i, j: np.isin(i, chosen) | np.isin(j, chosen), corners=corners,
                   text=f"global_tokens({chosen.tolist()})")


def tokens(name: str, positions: Sequence[int] | Array) -> Array:
    """Returns the positions of tokens sorted, without repetitions."""
    if not isinstance(positions, (Sequence, np.ndarray)) or isinstance(positions, str):
        raise TypeError(f"{name}: expected a sequence of ints, got {type(positions).__name__}")
    given = positions if getattr(positions, "shape", None) == () or len(positions) else np.zeros(0, np.int64)
    chosen = one_axis(name, integers(name, given))
    if chosen.size and chosen.min() < 0:
        raise ValueError(f"{name}: expected positions of 0 or more, got {int(chosen.min())}")
    return np.unique(chosen)


def random_blocks(size: int, count: int, seed: int) -> Pattern:
    """Returns `count` distinct key blocks among 0 to b for each query block b, drawn from (seed, b) alone.

    One more block therefore changes no earlier row. arXiv:2007.14062.

    >>> random_blocks(2, 1, seed=0).dense(4, 4).sum(axis=1)
    array([2, 2, 2, 2])
    """
    size, each, seed = whole("size", size, 1), whole("count", count, 0), whole("seed", seed, 0, None)

    def see(i: Array, j: Array) -> Any:
        blocks, place = np.unique(i // size, return_inverse=True)
        keys = j // size
        table = np.zeros((len(blocks), int(keys.max(initial=0)) + 1), bool)
        for row, block in enumerate(blocks.tolist()):
            chosen = drawn_blocks(seed, block, each)
            table[row, chosen[chosen < table.shape[1]]] = True
        return table[place.reshape(i.shape), np.maximum(keys, 0)]

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        low, high, first, last = i0 // size, i1 // size, j0 // size, j1 // size
        some = np.zeros(np.broadcast_shapes(i0.shape, j0.shape), bool)
        for row, (a, b) in enumerate(zip(low.reshape(-1).tolist(), high.reshape(-1).tolist(), strict=True)):
            chosen = np.sort(np.concatenate([drawn_blocks(seed, block, each) for block in range(a, b + 1)]))
            some[row] = np.searchsorted(chosen, last[0], side="right") > np.searchsorted(chosen, first[0])
        return some, some & (low == high) & (first == last)

    return Pattern(see, corners=corners, text=f"random_blocks({size}, {each}, {seed})")


@lru_cache(maxsize=1 << 14)
def drawn_blocks(seed: int, block: int, count: int) -> Array:
    """Returns `count` distinct blocks among 0 to `block`, drawn from (seed, block) alone; for a block before the first, none."""
    chosen: Array = np.random.default_rng([seed, block]).permutation(block + 1)[:count] if block >= 0 else np.zeros(0, np.int64)
    chosen.flags.writeable = False
    return chosen


def per_head(patterns: Sequence[Pattern]) -> Pattern:
    """Returns the patterns stacked over the heads: head h has the mask patterns[h].

    >>> per_head([causal(), first(1)]).dense(2, 2).shape
    (2, 2, 2)
    """
    if not isinstance(patterns, (list, tuple)):
        raise TypeError(f"patterns: expected a list with one Pattern per head, got {type(patterns).__name__}")
    if not patterns:
        raise ValueError("patterns: expected one per head, got none")
    for pattern in patterns:
        if not isinstance(pattern, Pattern):
            raise TypeError(f"patterns: expected one Pattern per head, got {type(pattern).__name__}")
    patterns = list(patterns)

    def stacked(parts: Sequence[Any], shape: tuple[int, ...]) -> Any:
        parts = [np.broadcast_to(part, np.broadcast_shapes(np.shape(part), (1, *shape))) for part in parts]
        leading = np.broadcast_shapes(*[part.shape[:-3] for part in parts])
        return np.concatenate([np.broadcast_to(part, (*leading, *part.shape[-3:])) for part in parts], axis=-3)

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        shape = np.broadcast_shapes(i0.shape, j0.shape)
        answers = [pattern.corners(i0, i1, j0, j1) for pattern in patterns]
        return stacked([some for some, _ in answers], shape), stacked([every for _, every in answers], shape)

    return Pattern(lambda i, j: stacked([p.see(i, j) for p in patterns], np.broadcast_shapes(i.shape, j.shape)),
                   corners=corners, text=f"per_head([{', '.join(map(repr, patterns))}])")
