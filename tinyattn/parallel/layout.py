"""Which tokens of a sequence each rank holds: spans of positions, one or more per rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tinyattn.ops.checks import has_axes, whole
from tinyattn.ops.types import Array

# (start, stop): the positions from start to stop - 1.
Span = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """The spans of positions that each rank holds: every token of a sequence is on exactly one rank.

    `spans[rank]` are the pairs (start, stop) of a rank in ascending order; a rank may have none. The tokens of a rank stand in
    its arrays in this order.

    Raises:
        TypeError: spans that are not pairs of ints. ValueError: spans that overlap, leave a token out, or do not ascend.

    >>> layout = Layout(5, (((0, 1), (4, 5)), ((1, 4),)))
    >>> layout.positions(0)
    array([0, 4])
    """

    length: int
    spans: tuple[tuple[Span, ...], ...]

    def __post_init__(self) -> None:
        length = whole("length", self.length, 0)
        if not isinstance(self.spans, (tuple, list)) or not self.spans:
            raise TypeError(f"spans: expected a tuple of the spans of each rank, got {self.spans!r:.60}")
        spans = tuple(tuple(check_span(span, rank, length) for span in held) for rank, held in enumerate(self.spans))
        spans = tuple(tuple(span for span in held if span[0] < span[1]) for held in spans)
        for rank, held in enumerate(spans):
            if list(held) != sorted(held):
                raise ValueError(f"spans[{rank}]: expected ascending spans, got {held}")
        covered = 0
        for start, stop in sorted(span for held in spans for span in held):
            if start != covered:
                said = f"token {covered} is on no rank" if start > covered else f"token {start} is on two ranks"
                raise ValueError(f"spans: expected each of the {length} tokens on exactly one rank, but {said}")
            covered = stop
        if covered != length:
            raise ValueError(f"spans: expected each of the {length} tokens on exactly one rank, but token {covered} is on no rank")
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "spans", spans)

    @property
    def ranks(self) -> int:
        """How many ranks share the sequence."""
        return len(self.spans)

    def count(self, rank: int) -> int:
        """Returns how many tokens a rank holds."""
        return sum(stop - start for start, stop in self.held(rank))

    def held(self, rank: int) -> tuple[Span, ...]:
        """Returns the spans of a rank; raises ValueError for a rank that the layout does not have."""
        if whole("rank", rank, 0) >= self.ranks:
            raise ValueError(f"rank: expected 0 to {self.ranks - 1}, got {rank}")
        return self.spans[rank]

    def positions(self, rank: int) -> Array:
        """Returns the positions of a rank's tokens.

        >>> zigzag(8, 2).positions(1)
        array([2, 3, 4, 5])
        """
        return np.concatenate([np.zeros(0, np.int64), *(np.arange(start, stop) for start, stop in self.held(rank))])

    def cuts(self, rank: int) -> tuple[slice, ...]:
        """Returns where each span of a rank stands in the rank's own arrays."""
        ends = np.cumsum([0, *(stop - start for start, stop in self.held(rank))]).tolist()
        return tuple(slice(a, b) for a, b in pairwise(ends))

    def take(self, x: Array, rank: int, axis: int = -2) -> Array:
        """Returns a rank's tokens of an array of the whole sequence, whose tokens lie along `axis`; differentiable.

        Raises:
            ValueError: the axis has another length than the sequence.

        >>> contiguous(5, 2).take(np.arange(5), 0, axis=0)
        array([0, 1])
        """
        axis = check_axis(x, axis)
        if x.shape[axis] != self.length:
            raise ValueError(f"x: expected {self.length} tokens along axis {axis}, got shape {x.shape}")
        at = (slice(None),) * axis
        parts = [x[(*at, slice(start, stop))] for start, stop in self.held(rank)]
        return np.concatenate(parts, axis=axis) if len(parts) > 1 else parts[0] if parts else x[(*at, slice(0, 0))]

    def put(self, parts: Sequence[Array], axis: int = -2) -> Array:
        """Returns the array of the whole sequence from the arrays of all ranks, in the order of the ranks; differentiable.

        Raises:
            ValueError: not one array per rank, or one of another length than the rank's tokens.

        >>> layout = zigzag(5, 2)
        >>> layout.put([layout.take(np.arange(5), rank, axis=0) for rank in range(2)], axis=0)
        array([0, 1, 2, 3, 4])
        """
        if len(parts) != self.ranks:
            raise ValueError(f"parts: expected one array per rank, {self.ranks}, got {len(parts)}")
        axis = check_axis(parts[0], axis)
        at, cut = (slice(None),) * axis, []
        for rank, part in enumerate(parts):
            if part.shape[axis] != self.count(rank):
                raise ValueError(f"parts[{rank}]: expected {self.count(rank)} tokens along axis {axis}, got shape {part.shape}")
            cut += [(span, part[(*at, where)]) for span, where in zip(self.spans[rank], self.cuts(rank), strict=True)]
        ordered = [part for _, part in sorted(cut, key=lambda pair: pair[0])]
        return np.concatenate(ordered, axis=axis) if ordered else parts[0]

    def pairs(self, rank: int, left: int | None = None, right: int | None = None) -> int:
        """Returns how many pairs of query and key a rank computes where a query sees `left` keys before and `right` after it.

        >>> [contiguous(4, 2).pairs(rank, right=0) for rank in range(2)], [zigzag(4, 2).pairs(rank, right=0) for rank in range(2)]
        ([3, 7], [5, 5])
        """
        i = self.positions(rank)
        first = np.zeros_like(i) if left is None else np.maximum(i - left, 0)
        last = np.full_like(i, self.length - 1) if right is None else np.minimum(i + right, self.length - 1)
        return int((last - first + 1).sum())


def check_span(span: Any, rank: int, length: int) -> Span:
    """Returns a span of two ints, 0 <= start <= stop <= length."""
    if not isinstance(span, (tuple, list)) or len(span) != 2:
        raise TypeError(f"spans[{rank}]: expected pairs (start, stop), got {span!r:.60}")
    start, stop = (whole(f"spans[{rank}]", end, 0) for end in span)
    if not start <= stop <= length:
        raise ValueError(f"spans[{rank}]: expected start <= stop <= {length}, got {span}")
    return start, stop


def check_axis(x: Array, axis: int) -> int:
    """Returns an axis of an array, counted from the first; raises TypeError or ValueError for one that it does not have."""
    ndim = np.ndim(x) if isinstance(x, np.ndarray) else len(has_axes("x", x, 0))
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise TypeError(f"axis: expected an int, got {type(axis).__name__}")
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis: expected an axis of an array with {ndim}, got {axis}")
    return int(axis) % ndim


def contiguous(length: int, ranks: int) -> Layout:
    """Returns the layout in which each rank holds one span, in the order of the ranks; their lengths differ by at most 1.

    >>> contiguous(5, 2).spans
    (((0, 2),), ((2, 5),))
    """
    length, ranks = whole("length", length, 0), whole("ranks", ranks, 1)
    ends = [length * rank // ranks for rank in range(ranks + 1)]
    return Layout(length, tuple(((a, b),) for a, b in pairwise(ends)))


def zigzag(length: int, ranks: int) -> Layout:
    """Returns the layout of 2 * ranks spans in which rank r holds the spans r and 2 * ranks - 1 - r.

    In causal attention the cost of a token is the number of keys up to it; with this layout every rank computes nearly equally
    many pairs.

    >>> zigzag(8, 2).spans
    (((0, 2), (6, 8)), ((2, 4), (4, 6)))
    """
    length, ranks = whole("length", length, 0), whole("ranks", ranks, 1)
    ends = [length * part // (2 * ranks) for part in range(2 * ranks + 1)]
    parts = list(pairwise(ends))
    return Layout(length, tuple((parts[rank], parts[-1 - rank]) for rank in range(ranks)))
