"""BatchCache: a batch whose rows have lengths of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.caches.base import Base, exclusive
from tinyattn.caches.chunk import GATES
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.protocol import check_chunk, check_reorder, check_truncation
from tinyattn.ops.types import Array

Lengths = Array | Sequence[int] | None


class BatchCache(Base):
    """Keeps a cache a row, of any kind that `make` gives; exact where those are: a row is what it would be alone.

    Chunks come padded to one length, (rows, ..., n, dim), and only the first `lengths[b]` tokens of row b are its own, or
    the last with padding="left"; the others are neither stored nor answered: their output is 0. `lengths` at the start are
    those of the first chunk; later ones are full unless told, with 0 for a row that has ended. Options are those of all rows,
    but gates, which come a token.

    nbytes = the sum over the rows. `length` is the longest row's, `lengths` all.

    >>> cache = BatchCache([3, 1])
    >>> x = np.ones((2, 1, 3, 4))
    >>> cache.step(x, x, x)[:, 0, :, 0], cache.lengths
    (array([[1., 1., 1.],
           [1., 0., 0.]]), array([3, 1]))
    """

    _held: tuple[Any, ...] | None

    def __init__(self, lengths: Lengths = None, make: Callable[[], Any] = GrowingCache, *, padding: str = "right") -> None:
        super().__init__()
        if padding not in ("left", "right"):
            raise ValueError(f"padding: expected 'left' or 'right', got {padding!r}")
        self.make, self.padding, self._first = make, padding, lengths

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """Whether the rows are."""
        return bool(self.make().exact if self._held is None else all(row.exact for row in self._held))

    @property
    def rows(self) -> tuple[Any, ...]:
        """The caches of the rows."""
        return self._held or ()

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
        if self._held is not None:
            starts = self.lengths
        elif self._first is not None:
            starts = np.zeros(len(self._first), np.int64)
        else:
            return np.arange(count)
        counts = self._counts(None, len(starts), count)
        skipped = count - counts if self.padding == "left" else np.zeros_like(counts)
        return np.maximum((starts - skipped)[:, None] + np.arange(count), 0)

    def _counts(self, lengths: Lengths, rows: int, n: int) -> Array:
        """Returns how many of a chunk's n tokens are each row's own."""
        given = self._first if lengths is None and self._held is None else lengths
        if given is None:
            return np.full(rows, n, np.int64)
        counts = np.asarray(given)
        if counts.dtype.kind not in "iu" or counts.shape != (rows,):
            raise ValueError(f"lengths: expected {rows} ints, one a row, got {counts.dtype} of shape {counts.shape}")
        if counts.size and not 0 <= counts.min() <= counts.max() <= n:
            raise ValueError(f"lengths: expected 0 to the chunk's {n} tokens, got {int(counts.min())} to {int(counts.max())}")
        return counts.astype(np.int64)

    def _own(self, count: int, n: int) -> slice:
        """Returns where in a chunk a row's own tokens are."""
        return slice(n - count, n) if self.padding == "left" else slice(0, count)

    def _forks(self, batch: int) -> tuple[Any, ...]:
        """Returns caches to write into, in the place of the rows if all goes well."""
        if self._held is None:
            return tuple(self.make() for _ in range(batch))
        if batch != len(self._held):
            raise ValueError(f"k: this cache holds {len(self._held)} rows, got {batch}")
        return tuple(row.fork() for row in self._held)

    @exclusive
    def append(self, k: Array, v: Array, lengths: Lengths = None) -> None:
        """Stores each row's own tokens of a chunk."""
        n = chunk_of(k, v)
        rows = self._forks(len(k))
        for b, (row, count) in enumerate(zip(rows, self._counts(lengths, len(k), n), strict=True)):
            own = self._own(int(count), n)
            row.append(k[b : b + 1, ..., own, :], v[b : b + 1, ..., own, :])
        self._held = rows

    @exclusive
    def step(self, q: Array, k: Array, v: Array, lengths: Lengths = None, **options: Any) -> Array:
        """Stores each row's own tokens and returns what their queries read; 0 for padding."""
        n, outs = chunk_of(k, v), []
        rows = self._forks(len(k))
        check_chunk(q, n)
        if q.shape[0] != len(k) or q.shape[-2] != n:
            raise ValueError(f"q: expected {len(k)} rows of {n} queries as in k {k.shape}, got shape {q.shape}")
        refuse_squares(options)
        for b, (row, count) in enumerate(zip(rows, self._counts(lengths, len(k), n), strict=True)):
            own = self._own(int(count), n)
            gates = {name: gate[b : b + 1, ..., own, :] if gate.ndim == k.ndim else gate[b : b + 1, ..., own]
                     for name, gate in options.items() if name in GATES and np.ndim(gate) >= k.ndim - 1}
            out = row.step(*(x[b : b + 1, ..., own, :] for x in (q, k, v)), **options | gates)
            edges = (own.start, n - own.stop)
            outs.append(np.pad(out, [(0, 0)] * (out.ndim - 2) + [edges, (0, 0)]))
        out = np.concatenate(outs)
        self._held = rows
        return out

    @exclusive
    def attend(self, q: Array, **options: Any) -> Array:
        """Returns what queries at the last q_len positions of every row read."""
        if self._held is None:
            raise ValueError("attend: this cache is empty; append first")
        if q.shape[0] != len(self._held):
            raise ValueError(f"q: expected {len(self._held)} rows, got shape {q.shape}")
        refuse_squares(options)
        return np.concatenate([row.attend(q[b : b + 1], **options) for b, row in enumerate(self._held)])

    @exclusive
    def truncate(self, length: int | Array | Sequence[int]) -> None:
        """Forgets what stands from a length on: one for all rows (shorter ones stay), or one a row."""
        rows = self.rows
        if isinstance(length, (int, np.integer)):
            wanted = [min(check_truncation(length, self.length), row.length) for row in rows]
        elif len(length) != len(rows):
            raise ValueError(f"length: expected an int or {len(rows)} of them, got {len(length)}")
        else:
            wanted = [check_truncation(n, row.length) for n, row in zip(length, rows, strict=True)]
        cut = tuple(row.fork() for row in rows)
        for row, n in zip(cut, wanted, strict=True):
            row.truncate(n)
        self._held = cut or None

    @exclusive
    def reorder(self, indices: Array) -> None:
        """Makes row i what row indices[i] was."""
        if self._held is None:
            raise ValueError("reorder: this cache is empty and has no rows yet; append first")
        rows = self._held
        self._held = tuple(rows[i].fork() for i in check_reorder(indices, len(rows)))

    def _parted(self) -> tuple[Any, ...] | None:
        return None if self._held is None else tuple(row.fork() for row in self._held)

    def _arrays(self) -> dict[str, Array]:
        return {f"{b}.{name}": array for b, row in enumerate(self.rows) for name, array in row._arrays().items()}

    def _restore(self, arrays: dict[str, Array]) -> None:
        rows = []
        for b in range(1 + max(int(name.partition(".")[0]) for name in arrays)):
            rows.append(self.make())
            rows[-1]._restore({name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{b}.")})
        self._held = tuple(rows)


def chunk_of(k: Array, v: Array) -> int:
    """Returns the tokens of a chunk with rows."""
    for name, array in (("k", k), ("v", v)):
        if not isinstance(array, np.ndarray) or array.ndim < 3:
            raise TypeError(f"{name}: expected an array (rows, ..., n, dim), got {getattr(array, 'shape', type(array).__name__)}")
    if len(v) != len(k) or v.shape[-2] != k.shape[-2]:
        raise ValueError(f"v: expected {len(k)} rows of {k.shape[-2]} tokens as in k {k.shape}, got shape {v.shape}")
    return int(k.shape[-2])


def refuse_squares(options: dict[str, Any]) -> None:
    """Raises ValueError for a mask or bias array, whose axes would have another meaning in every row."""
    for name in ("mask", "bias"):
        if isinstance(options.get(name), np.ndarray):
            raise ValueError(f"{name}: rows of different lengths share no array; give a Pattern or Bias")
