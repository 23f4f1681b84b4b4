"""Pattern: a mask as a predicate on positions. Patterns can be composed, and evaluated for a block of pairs at once."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.ops.checks import index_array, one_axis, whole
from tinyattn.ops.masks.picture import svg
from tinyattn.ops.types import Array

EMPTY, PARTIAL, FULL = 0, 1, 2
See = Callable[[Array, Array], Any]
# For boxes of positions [i0, i1] x [j0, j1] it returns whether some pair is visible, and whether every pair is. The answers
# may be cautious: some is True, or every is False, where the function cannot tell.
Corners = Callable[[Array, Array, Array, Array], tuple[Any, Any]]


def unsure(see: See) -> Corners:
    """Returns the cautious answers, some True and every False, for a predicate about which nothing else is known.

    They have the leading axes of what the predicate gives, which one pair tells.
    """
    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        one = np.shape(see(i0.reshape(-1)[:1, None], j0.reshape(-1)[None, :1]))
        return np.ones((*one[:-2], *np.broadcast_shapes(i0.shape, j0.shape)), bool), np.zeros((), bool)

    return corners


def band(i: Array, j: Array, left: int | None, right: int | None) -> Array:
    """Returns i - left <= j <= i + right for positions that broadcast against each other; None is unbounded.

    >>> band(np.array([[2]]), np.arange(4), 1, 0)
    array([[False,  True,  True, False]])
    """
    # The bounds are added to the positions of the queries alone, so that no integer array of all pairs arises.
    if left is not None and right is not None:
        if left == -right:
            return j == i - left
        return (j >= i - left) & (j <= i + right)
    if left is not None:
        return j >= i - left
    return np.ones(np.broadcast_shapes(i.shape, j.shape), bool) if right is None else j <= i + right


class Pattern:
    """A mask as a predicate on the positions of a query (i) and a key (j): True where the query may see the key.

    Patterns are composed with `&`, `|` and `~`. Users write their own as `Pattern(lambda i, j: ...)`: i and j are integer
    arrays that broadcast against each other, and the result is boolean.

    Raises:
        TypeError: the predicate is not a function, or a Pattern is composed with something else.

    >>> Pattern(lambda i, j: (i - j) % 2 == 0).dense(2, 3)
    array([[False,  True, False],
           [ True, False,  True]])
    """

    __slots__ = ("corners", "see", "text", "weight")
    __array_ufunc__ = None  # array & pattern raises an error that names both, and does not make an array of objects

    def __init__(self, see: See, *, corners: Corners | None = None, text: str = "Pattern(...)", weight: int = 3) -> None:
        if not callable(see):
            raise TypeError(f"see: expected a function of query and key positions, got {type(see).__name__}")
        if not isinstance(text, str):
            raise TypeError(f"text: expected a str, got {type(text).__name__}")
        weight = whole("weight", weight, 0)
        self.see, self.corners, self.text, self.weight = see, corners or unsure(see), text, weight

    def visible(self, q_positions: Array, kv_positions: Array) -> Array:
        """Returns whether the query at each position sees the key at each position: (*leading, i, j).

        Raises:
            TypeError: the positions are not arrays of integers. ValueError: they do not have one axis.
        """
        given = {"q_positions": q_positions, "kv_positions": kv_positions}
        # Unsigned or short integers would wrap around in a difference of two positions.
        return self._seen(*(one_axis(name, index_array(name, positions)).astype(np.int64, copy=False)
                            for name, positions in given.items()))

    def _seen(self, q_positions: Array, kv_positions: Array) -> Array:
        seen = np.asarray(self.see(q_positions[:, None], kv_positions[None, :]))
        if seen.dtype != np.bool_:
            raise TypeError(f"{self.text}: expected a boolean result, got {seen.dtype}")
        shape = (len(q_positions), len(kv_positions))
        if any(n not in (1, m) for n, m in zip(seen.shape[:-3:-1], shape[::-1], strict=False)):
            raise ValueError(f"{self.text}: expected a result that broadcasts to {shape}, one for each pair of positions, "
                             f"got shape {seen.shape}")
        return np.broadcast_to(seen, (*seen.shape[:-2], *shape)) if seen.shape[-2:] != shape else seen

    def dense(self, q_len: int, kv_len: int) -> Array:
        """Returns the boolean array (*leading, q_len, kv_len) in which query i has the position i + kv_len - q_len.

        >>> from tinyattn.ops.masks.constructors import causal
        >>> causal().dense(1, 3)
        array([[ True,  True,  True]])
        """
        q_len, kv_len = whole("q_len", q_len, 0), whole("kv_len", kv_len, 0)
        seen = self._seen(np.arange(kv_len - q_len, kv_len), np.arange(kv_len))
        return seen if seen.flags.writeable else seen.copy()

    def blocks(self, q_len: int, kv_len: int, q_block: int, kv_block: int) -> Array:
        """Returns EMPTY (0), PARTIAL (1) or FULL (2) for each block of the dense array, without evaluating its pairs.

        The result is uint8 and has the shape (*leading, ceil(q_len / q_block), ceil(kv_len / kv_block)). EMPTY and FULL are
        always true. For compositions and users' own predicates, PARTIAL may also stand for a block that is empty or full;
        for causal, window, first, block_local or padding alone it never does.

        Raises:
            TypeError: a length or a block size is not an int. ValueError: a block size is below 1.
        """
        q_len, kv_len = whole("q_len", q_len, 0), whole("kv_len", kv_len, 0)
        q_block, kv_block = whole("q_block", q_block, 1), whole("kv_block", kv_block, 1)
        i0, j0 = np.arange(0, q_len, q_block)[:, None], np.arange(0, kv_len, kv_block)[None, :]
        i1, j1 = np.minimum(i0 + q_block, q_len) - 1, np.minimum(j0 + kv_block, kv_len) - 1
        shift = kv_len - q_len
        some, every = self.corners(i0 + shift, i1 + shift, j0, j1)
        answers = np.where(every, np.uint8(FULL), np.where(some, np.uint8(PARTIAL), np.uint8(EMPTY)))
        return np.broadcast_to(answers, (*answers.shape[:-2], i0.shape[0], j0.shape[1]))

    def __and__(self, other: Pattern) -> Pattern:
        return self._combined(other, "&", operator.and_, 2)

    def __or__(self, other: Pattern) -> Pattern:
        return self._combined(other, "|", operator.or_, 1)

    def _combined(self, other: Pattern, sign: str, combine: Callable[[Any, Any], Any], weight: int) -> Pattern:
        if not isinstance(other, Pattern):
            raise TypeError(f"{sign}: expected a Pattern on both sides, got {type(other).__name__}; an array is "
                            f"given to attention as mask= beside causal= and window=")

        def corners(*box: Array) -> tuple[Any, Any]:
            (some, every), (some_too, every_too) = self.corners(*box), other.corners(*box)
            return combine(some, some_too), combine(every, every_too)

        return Pattern(lambda i, j: combine(self.see(i, j), other.see(i, j)), corners=corners,
                       text=f"{self.within(weight)} {sign} {other.within(weight)}", weight=weight)

    def __invert__(self) -> Pattern:
        def corners(*box: Array) -> tuple[Any, Any]:
            some, every = self.corners(*box)
            return ~every, ~some

        return Pattern(lambda i, j: ~np.asarray(self.see(i, j)), corners=corners, text=f"~{self.within(3)}", weight=3)

    def __bool__(self) -> bool:
        raise TypeError(f"{self.text}: a Pattern is neither true nor false; & and | combine patterns, and ~ inverts one")

    def within(self, weight: int) -> str:
        """Returns the pattern as text, in parentheses if it binds weaker than the text around it."""
        weight = whole("weight", weight, 0)
        return self.text if self.weight >= weight else f"({self.text})"

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        seen = self.dense(16, 16)
        return svg(seen.reshape(-1, 16, 16)[0], title=self.text)


def renamed(pattern: Pattern, text: str) -> Pattern:
    """Returns the same pattern with another text, that of a single call."""
    return Pattern(pattern.see, corners=pattern.corners, text=text)
