"""BatchCache: a batch whose rows have different lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Self, cast

import numpy as np

from tinyattn.caches.base import Base
from tinyattn.caches.checks import check_chunk, check_function, check_reorder, check_truncation, count_of
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.rows import check_lengths, chunk_of, option_of_row, padded, per_token_of, release, successor
from tinyattn.caches.turns import exclusive
from tinyattn.ops.checks import integers
from tinyattn.ops.types import Array

Lengths = Array | Sequence[int] | None


class Rows(NamedTuple):
    """One cache per row, and how many tokens of the next chunk and of the last one are each row's own (None: all)."""

    caches: tuple[Any, ...]
    first: Array | None = None
    last: Array | None = None

    @property
    def length(self) -> int:
        """Number of tokens of the longest row."""
        return max((row.length for row in self.caches), default=0)

    @property
    def nbytes(self) -> int:
        """Bytes that the tokens of all rows need."""
        return sum(row.nbytes for row in self.caches)

    @property
    def allocated(self) -> int:
        """Bytes of the buffers of all rows."""
        return sum(row.allocated for row in self.caches)

    def forked(self) -> tuple[Rows, Rows]:
        """Returns the rows of a cache and of its fork."""
        return self, self._replace(caches=tuple(row.fork() for row in self.caches))

    def saved(self) -> dict[str, Array]:
        """Returns all arrays of all rows, by row and name."""
        return {f"{b}.{name}": array for b, row in enumerate(self.caches) for name, array in row._saved().items()}


class BatchCache(Base):
    """Keeps one cache per row, made by `make`; each row gives what it would give alone, exact if its cache is.

    Chunks are padded to one length, (rows, ..., n, dim). Only the first `lengths[b]` tokens of row b are its own, or the last
    with padding="left"; the others are not stored, and their output is 0. `lengths` given here are those of the first chunk;
    later chunks are full unless lengths are given with them, with 0 for a row that has ended. Options are the same for all rows,
    except those with one entry per row and token, such as gates and spans, and Patterns per sequence: each row gets its own part.

    nbytes = the sum over the rows. `length` is that of the longest row, `lengths` are those of all.

    >>> cache = BatchCache([3, 1])
    >>> x = np.ones((2, 1, 3, 4))
    >>> cache.step(x, x, x)[:, 0, :, 0], cache.lengths
    (array([[1., 1., 1.],
           [1., 0., 0.]]), array([3, 1]))
    """

    _held: Rows | None

    def __init__(self, lengths: Lengths = None, make: Callable[[], Any] = GrowingCache, *, padding: str = "right") -> None:
        super().__init__()
        if not isinstance(padding, str) or padding not in ("left", "right"):
            raise ValueError(f"padding: expected 'left' or 'right', got {padding!r}")
        check_function("make", make, "nothing")
        self.make, self.padding, self._first = make, padding, None if lengths is None else check_lengths(lengths)

    @classmethod
    def of(cls, rows: Sequence[Any], lengths: Lengths = None, *, padding: str = "right") -> Self:
        """Returns a batch of existing caches, one per row; `lengths` are those of the next chunk.

        >>> BatchCache.of([GrowingCache(), GrowingCache()]).lengths
        array([0, 0])
        """
        if not isinstance(rows, (list, tuple)):
            raise TypeError(f"rows: expected a list of caches, got {type(rows).__name__}")
        for number, row in enumerate(rows):
            if isinstance(row, type) or not hasattr(row, "step"):
                raise TypeError(f"rows[{number}]: expected a cache, got {type(row).__name__}")
        if len({id(row) for row in rows}) != len(rows) or not rows:
            raise ValueError(f"rows: expected at least one cache and each only once, got {len(rows)}")
        batch = cls(padding=padding)
        batch._held = Rows(tuple(rows), None if lengths is None else check_lengths(lengths, len(rows)))
        return batch

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """Whether all rows are exact."""
        return bool(self.make().exact if self._held is None else all(row.exact for row in self.rows))

    @property
    def rows(self) -> tuple[Any, ...]:
        """The caches of the rows."""
        return () if self._held is None else self._held.caches

    @property
    def lengths(self) -> Array:
        """Number of tokens of each row, (rows,)."""
        return np.array([row.length for row in self.rows], np.int64)

    def positions(self, count: int) -> Array:
        """Returns the positions of the next chunk's tokens, (rows, count), as a decoder takes them; 0 for padding."""
        steps = super().positions(count) - self.length
        if self._held is not None:
            starts = self.lengths
        elif self._first is not None:
            starts = np.zeros(len(self._first), np.int64)
        else:
            return steps
        counts = self._counts(None, len(starts), len(steps))
        skipped = len(steps) - counts if self.padding == "left" else np.zeros_like(counts)
        return np.maximum((starts - skipped)[:, None] + steps, 0)

    def _counts(self, lengths: Lengths, rows: int, n: int) -> Array:
        """Returns how many of a chunk's n tokens are each row's own."""
        given = lengths if lengths is not None else self._first if self._held is None else self._held.first
        return np.full(rows, n, np.int64) if given is None else check_lengths(given, rows, n)

    def _own(self, count: int, n: int) -> slice:
        """Returns where in a chunk a row's own tokens are."""
        return slice(n - count, n) if self.padding == "left" else slice(0, count)

    def _successors(self, batch: int) -> tuple[Any, ...]:
        """Returns caches to write into, which replace the rows if all of them succeed."""
        if self._held is None:
            return tuple(self.make() for _ in range(batch))
        if batch != len(self.rows):
            raise ValueError(f"k: this cache holds {len(self.rows)} rows, got {batch}")
        return tuple(successor(row) for row in self.rows)

    def _parts(self, rows: Sequence[Any], counts: Array, arrays: Sequence[Array],
               options: dict[str, Any]) -> Iterator[tuple[Any, slice, list[Array], dict[str, Any]]]:
        """Yields each row with the place of its own tokens in a chunk, and its part of the arrays and options."""
        sizes = len(rows), arrays[-1].shape[-2]
        for b, (row, count) in enumerate(zip(rows, counts, strict=True)):
            own = self._own(int(count), sizes[1])
            given = {name: option_of_row(name, option, b, own, sizes, arrays[0].ndim, per_token_of(row))
                     for name, option in options.items()}
            yield row, own, [x[b : b + 1, ..., own, :] for x in arrays], given

    @exclusive
    def append(self, k: Array, v: Array, lengths: Lengths = None, **options: Any) -> None:
        """Stores each row's own tokens of a chunk; gates as the rows' own `append` takes them."""
        n = chunk_of(k, v)
        rows, counts = self._successors(len(k)), self._counts(lengths, len(k), n)
        for row, _, arrays, given in self._parts(rows, counts, (k, v), options):
            row.append(*arrays, **given)
        self._held = Rows(rows, last=counts)

    @exclusive
    def step(self, q: Array, k: Array, v: Array, lengths: Lengths = None, **options: Any) -> Array:
        """Stores each row's own tokens and returns the output of their queries; 0 for padding."""
        n = chunk_of(k, v)
        rows = self._successors(len(k))
        check_chunk(q, n)
        if q.shape[0] != len(k) or q.shape[-2] != n:
            raise ValueError(f"q: expected {len(k)} rows of {n} queries as in k {k.shape}, got shape {q.shape}")
        counts = self._counts(lengths, len(k), n)
        outs = [padded(row.step(*arrays, **given), own, n)
                for row, own, arrays, given in self._parts(rows, counts, (q, k, v), options)]
        if not outs:
            raise ValueError(f"k: expected at least one row, got shape {k.shape}")
        out = np.concatenate(outs)
        self._held = Rows(rows, last=counts)
        return out

    @exclusive
    def attend(self, q: Array, **options: Any) -> Array:
        """Returns the attention of queries at the last q_len positions of every row."""
        return self._attended_rows(q, None, options)

    def _attended_again(self, q: Array, options: dict[str, Any]) -> Array:
        return self._attended_rows(q, None if self._held is None else self._held.last, options)

    def _attended_rows(self, q: Array, counts: Array | None, options: dict[str, Any]) -> Array:
        """Returns the attention of every row's own queries at its last positions, and 0 for padding."""
        n, rows = count_of(q), self._filled("attend").caches
        if q.shape[0] != len(rows):
            raise ValueError(f"q: expected {len(rows)} rows, got shape {q.shape}")
        counts = check_lengths(np.full(len(q), n) if counts is None else counts, len(q), n)
        return np.concatenate([padded(row.attend(*arrays, **given), own, n) for row, own, arrays, given
                               in self._parts(rows, counts, (q,), options)])

    @exclusive
    def truncate(self, length: int | Array | Sequence[int]) -> None:
        """Removes all tokens from a length on: one length for all rows (shorter rows stay), or one per row."""
        rows = self.rows
        if isinstance(length, (np.ndarray, list, tuple)):
            given = integers("length", length)
            if given.shape != (len(rows),):
                raise ValueError(f"length: expected an int or {len(rows)} of them, got shape {given.shape}")
            wanted = [check_truncation(n, row.length) for n, row in zip(given, rows, strict=True)]
        else:
            wanted = [min(check_truncation(cast(int, length), self.length), row.length) for row in rows]
        cut = tuple(successor(row) for row in rows)
        for row, n in zip(cut, wanted, strict=True):
            row.truncate(n)
        self._held = self._held and self._held._replace(caches=cut, last=None)

    @exclusive
    def reorder(self, indices: Array) -> None:
        """Replaces row i by row indices[i]."""
        caches, *counts = self._filled("reorder")
        kept = check_reorder(indices, len(caches))
        counts = [None if given is None else given[kept] for given in counts]
        self._held = Rows(tuple(caches[i].fork() for i in kept), *counts)

    def free(self) -> None:
        """Returns the pages of the rows to the pool that they share."""
        release(self.rows)

    def _loaded(self, arrays: dict[str, Array]) -> Rows:
        rows = []
        for b in range(1 + max(int(name.partition(".")[0]) for name in arrays)):
            row, mine = self.make(), {name.removeprefix(f"{b}."): array for name, array in arrays.items() if name.startswith(f"{b}.")}
            row._held = row._loaded(mine)
            rows.append(row)
        return Rows(tuple(rows))
