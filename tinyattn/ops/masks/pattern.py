"""Pattern: a statement about positions, who may see whom, that can be composed and asked of whole blocks at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.ops.checks import index_array, whole
from tinyattn.ops.masks.picture import svg
from tinyattn.ops.types import Array

EMPTY, PARTIAL, FULL = 0, 1, 2
See = Callable[[Array, Array], Any]
# Of boxes of positions [i0, i1] x [j0, j1]: does some pair see, does every pair? Where unsure: some yes, every no.
Corners = Callable[[Array, Array, Array, Array], tuple[Any, Any]]


def unsure(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
    """Answers for a predicate of which nothing is known: maybe some, maybe not all."""
    return np.ones(np.broadcast_shapes(i0.shape, j0.shape), bool), np.zeros((), bool)


class Pattern:
    """Who may see whom, as a predicate on the positions of a query (i) and a key (j).

    Composed with `&`, `|`, `~`. `Pattern(lambda i, j: ...)` is a user's own: i and j are integer arrays that
    broadcast against each other, and the result is boolean.

    Raises:
        TypeError: a predicate that cannot be called, or composing with what is no Pattern.

    >>> Pattern(lambda i, j: (i - j) % 2 == 0).dense(2, 3)
    array([[False,  True, False],
           [ True, False,  True]])
    """

    __slots__ = ("corners", "see", "text", "weight")
    __array_ufunc__ = None  # an array & pattern is an error that names both, not an array of objects

    def __init__(self, see: See, *, corners: Corners = unsure, text: str = "Pattern(...)", weight: int = 3) -> None:
        if not callable(see):
            raise TypeError(f"see: expected a function of query and key positions, got {type(see).__name__}")
        if not isinstance(text, str):
            raise TypeError(f"text: expected a str, got {type(text).__name__}")
        weight = whole("weight", weight, 0)
        self.see, self.corners, self.text, self.weight = see, corners, text, weight

    def visible(self, q_positions: Array, kv_positions: Array) -> Array:
        """Returns whether the query at each position sees the key at each position: (*leading, i, j).

        Raises:
            TypeError: positions that are not integers. ValueError: positions that are not one-dimensional.
        """
        given = {"q_positions": q_positions, "kv_positions": kv_positions}
        q_positions, kv_positions = (index_array(name, positions) for name, positions in given.items())
        for name, positions in (("q_positions", q_positions), ("kv_positions", kv_positions)):
            if positions.ndim != 1:
                raise ValueError(f"{name}: expected one axis, got shape {positions.shape}")
        # Unsigned or short integers would wrap around in a difference of two positions.
        return self._seen(*(positions.astype(np.int64, copy=False) for positions in (q_positions, kv_positions)))

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
        """Returns the boolean array (*leading, q_len, kv_len) at bottom-right positions: query i at i + kv_len - q_len.

        >>> from tinyattn.ops.masks.constructors import causal
        >>> causal().dense(1, 3)
        array([[ True,  True,  True]])
        """
        q_len, kv_len = whole("q_len", q_len, 0), whole("kv_len", kv_len, 0)
        return self._seen(np.arange(kv_len - q_len, kv_len), np.arange(kv_len))

    def blocks(self, q_len: int, kv_len: int, q_block: int, kv_block: int) -> Array:
        """Returns for each block of the dense array EMPTY (0), PARTIAL (1) or FULL (2), without evaluating pairs.

        Shape (*leading, ceil(q_len / q_block), ceil(kv_len / kv_block)), uint8. EMPTY and FULL are always true;
        PARTIAL may be cautious for compositions and users' own predicates, never for causal, window, first,
        block_local or padding alone.

        Raises:
            TypeError, ValueError: lengths or blocks that are no ints, a block below 1.
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
        other = check_pattern(other, "&")

        def corners(*box: Array) -> tuple[Any, Any]:
            (some, every), (some_too, every_too) = self.corners(*box), other.corners(*box)
            return some & some_too, every & every_too

        return Pattern(lambda i, j: self.see(i, j) & other.see(i, j), corners=corners,
                       text=f"{self.within(2)} & {other.within(2)}", weight=2)

    def __or__(self, other: Pattern) -> Pattern:
        other = check_pattern(other, "|")

        def corners(*box: Array) -> tuple[Any, Any]:
            (some, every), (some_too, every_too) = self.corners(*box), other.corners(*box)
            return some | some_too, every | every_too

        return Pattern(lambda i, j: self.see(i, j) | other.see(i, j), corners=corners,
                       text=f"{self.within(1)} | {other.within(1)}", weight=1)

    def __invert__(self) -> Pattern:
        def corners(*box: Array) -> tuple[Any, Any]:
            some, every = self.corners(*box)
            return ~every, ~some

        return Pattern(lambda i, j: ~np.asarray(self.see(i, j)), corners=corners, text=f"~{self.within(3)}", weight=3)

    def __bool__(self) -> bool:
        raise TypeError(f"{self.text}: a Pattern is neither true nor false; & and | combine patterns, and ~ turns one round")

    def within(self, weight: int) -> str:
        """Returns the pattern as text, in parentheses if it binds weaker than its surroundings."""
        weight = whole("weight", weight, 0)
        return self.text if self.weight >= weight else f"({self.text})"

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        seen = self.dense(16, 16)
        return svg(seen.reshape(-1, 16, 16)[0], title=self.text)


def check_pattern(other: Any, operator: str) -> Pattern:
    """Returns other; TypeError unless it is a Pattern."""
    if not isinstance(other, Pattern):
        raise TypeError(f"{operator}: expected a Pattern on both sides, got {type(other).__name__}; an array is "
                        f"given to attention as mask= beside causal= and window=")
    return other
