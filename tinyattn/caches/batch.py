"""BatchCache: a batch whose rows have lengths of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self, cast

import numpy as np

from tinyattn.caches.asked import check_function
from tinyattn.caches.base import Base, exclusive
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.protocol import check_chunk, check_reorder, check_truncation, count_of
from tinyattn.caches.rows import check_lengths, chunk_of, option_of_row, padded, release, successor
from tinyattn.ops.checks import integers
from tinyattn.ops.types import Array

Lengths = Array | Sequence[int] | None


class Rows(NamedTuple):
    """A cache for each row, how many tokens of the next chunk are each row's own (None is all), and of the last one."""

    caches: tuple[Any, ...]
    first: Array | None = None
    last: Array | None = None


class BatchCache(Base):
    """Keeps a cache for each row, of any kind that `make` gives; exact where those are: a row is what it would be alone.

    Chunks come padded to one length, (rows, ..., n, dim), and only the first `lengths[b]` tokens of row b are its own, or
    the last with padding="left"; the others are neither stored nor answered: their output is 0. `lengths` at the start are
    those of the first chunk; later ones are full unless told, with 0 for a row that has ended. Options are the same for all
    rows, except for what has an entry per row and token, as gates and spans have, and for Patterns per sequence: of these each
    row gets its own part.

    nbytes = the sum over the rows. `length` is the longest row's, `lengths` all.

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
        """Returns the batch of caches that are there already, one per row; `lengths` are those of the next chunk.

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
        """Whether the rows are."""
        return bool(self.make().exact if self._held is None else all(row.exact for row in self.rows))

    @property
    def rows(self) -> tuple[Any, ...]:
        """The caches of the rows."""
        return () if self._held is None else self._held.caches

    @property
    def lengths(self) -> Array:
        """Tokens of each row, (rows,)."""
        return np.array([row.length for row in self.rows], np.int64)

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return int(self.lengths.max(initial=0))

    @property
    def nbytes(self) -> int:
        """Bytes that the rows' tokens need."""
        return sum(row.nbytes for row in self.rows)

    @property
    def allocated(self) -> int:
        """Bytes of the rows' buffers."""
        return sum(row.allocated for row in self.rows)

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
        """Returns caches to write into, which take the place of the rows if all goes well."""
        if self._held is None:
            return tuple(self.make() for _ in range(batch))
        if batch != len(self.rows):
            raise ValueError(f"k: this cache holds {len(self.rows)} rows, got {batch}")
        return tuple(successor(row) for row in self.rows)

    @exclusive
    def append(self, k: Array, v: Array, lengths: Lengths = None, **options: Any) -> None:
        """Stores each row's own tokens of a chunk; gates as the rows' own `append` takes them."""
        n, rank = chunk_of(k, v), k.ndim
        rows, counts = self._successors(len(k)), self._counts(lengths, len(k), n)
        for b, (row, count) in enumerate(zip(rows, counts, strict=True)):
            own = self._own(int(count), n)
            given = {name: option_of_row(name, option, b, own, (len(k), n), rank) for name, option in options.items()}
            row.append(k[b : b + 1, ..., own, :], v[b : b + 1, ..., own, :], **given)
        self._held = Rows(rows, last=counts)

    @exclusive
    def step(self, q: Array, k: Array, v: Array, lengths: Lengths = None, **options: Any) -> Array:
        """Stores each row's own tokens and returns what their queries read; 0 for padding."""
        n, outs = chunk_of(k, v), []
        rows = self._successors(len(k))
        check_chunk(q, n)
        if q.shape[0] != len(k) or q.shape[-2] != n:
            raise ValueError(f"q: expected {len(k)} rows of {n} queries as in k {k.shape}, got shape {q.shape}")
        counts = self._counts(lengths, len(k), n)
        for b, (row, count) in enumerate(zip(rows, counts, strict=True)):
            own = self._own(int(count), n)
            given = {name: option_of_row(name, option, b, own, (len(k), n), q.ndim) for name, option in options.items()}
            outs.append(padded(row.step(*(x[b : b + 1, ..., own, :] for x in (q, k, v)), **given), own, n))
        if not outs:
            raise ValueError(f"k: expected at least one row, got shape {k.shape}")
        out = np.concatenate(outs)
        self._held = Rows(rows, last=counts)
        return out

    @exclusive
    def attend(self, q: Array, **options: Any) -> Array:
        """Returns what queries at the last q_len positions of every row read."""
        return self._answers(q, None, options)

    def _reread(self, q: Array, options: dict[str, Any]) -> Array:
        return self._answers(q, None if self._held is None else self._held.last, options)

    def _answers(self, q: Array, counts: Array | None, options: dict[str, Any]) -> Array:
        """Returns what the own queries of every row read at its last positions, and 0 for padding."""
        n, outs = count_of(q), []
        if self._held is None:
            raise ValueError("attend: this cache is empty; append first")
        if q.shape[0] != len(self.rows):
            raise ValueError(f"q: expected {len(self.rows)} rows, got shape {q.shape}")
        for b, (row, count) in enumerate(zip(self.rows, check_lengths(np.full(len(q), n) if counts is None else counts, len(q), n),
                                             strict=True)):
            own = self._own(int(count), n)
            given = {name: option_of_row(name, option, b, own, (len(q), n), q.ndim) for name, option in options.items()}
            outs.append(padded(row.attend(q[b : b + 1, ..., own, :], **given), own, n))
        return np.concatenate(outs)

    @exclusive
    def truncate(self, length: int | Array | Sequence[int]) -> None:
        """Forgets what stands from a length on: one for all rows (shorter ones stay), or one per row."""
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
        """Makes row i what row indices[i] was."""
        if self._held is None:
            raise ValueError("reorder: this cache is empty and has no rows yet; append first")
        kept = check_reorder(indices, len(self.rows))
        counts = (None if given is None else given[kept] for given in self._held[1:])
        self._held = Rows(tuple(self.rows[i].fork() for i in kept), *counts)

    def free(self) -> None:
        """Gives back what the rows hold of a pool that others share."""
        release(self.rows)

    def _parted(self) -> Rows | None:
        return self._held and self._held._replace(caches=tuple(row.fork() for row in self.rows))

    def _arrays(self) -> dict[str, Array]:
        return {f"{b}.{name}": array for b, row in enumerate(self.rows) for name, array in row._arrays().items()}

    def _restore(self, arrays: dict[str, Array]) -> None:
        rows = []
        for b in range(1 + max(int(name.partition(".")[0]) for name in arrays)):
            rows.append(self.make())
            rows[-1]._restore({name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{b}.")})
        self._held = Rows(tuple(rows))
