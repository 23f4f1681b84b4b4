"""Tapes: rows in buffers, written behind the rows that exist and never over rows that somebody may read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinyattn.ops.types import Array

NEVER = sys.maxsize


class Tape(NamedTuple):
    """Rows start to stop of a buffer (..., room, width), and the first row that may be written in place.

    A tape is a value: a change returns another tape, and the rows of this one stay as they are. So a cache that is stopped in
    the middle of a change still holds its old tokens, copies share memory until one of them writes, and views that were given
    out stay valid. A row costs O(1) on average: when the buffer is full the rows move to one of twice their number. Rows
    dropped in front do not move along, so the rows of a ring lie in order, too.
    """

    buffer: Array
    start: int = 0
    stop: int = 0
    free: int = 0

    @classmethod
    def like(cls, rows: Array) -> Tape:
        """Returns an empty tape for rows of this shape and dtype."""
        return cls(np.empty((*rows.shape[:-2], 0, rows.shape[-1]), rows.dtype))

    @classmethod
    def of(cls, rows: Array) -> Tape:
        """Returns a tape of rows that nobody else writes."""
        return cls(rows, 0, rows.shape[-2])

    @property
    def rows(self) -> Array:
        """The rows, where they lie."""
        return self.buffer[..., self.start : self.stop, :]

    @property
    def size(self) -> int:
        """The number of rows."""
        return self.stop - self.start

    def extended(self, rows: Array, room: int | None = None) -> Tape:
        """Returns the tape with more rows at its end; a new buffer has `room` rows, or twice as many as are held."""
        buffer, start, end, free = self
        count = rows.shape[-2]
        stop = end + count
        if not count:
            return self
        if end >= free and stop <= buffer.shape[-2]:
            buffer[..., end:stop, :] = rows
            return Tape(buffer, start, stop, free)
        held = end - start
        new = np.empty((*rows.shape[:-2], max(held + count, 2 * held) if room is None else room, rows.shape[-1]), rows.dtype)
        new[..., :held, :] = buffer[..., start:end, :]
        new[..., held : held + count, :] = rows
        return Tape(new, 0, held + count, 0)

    def written(self, at: Array, rows: Array, stop: int, room: int) -> Tape:
        """Returns the tape up to row `stop` with rows at the indices `at` (..., 1, n, 1), and 0 between its old end and them.

        Only rows behind the end are written where they lie, unless somebody else writes there; else all rows move to a new buffer.
        """
        buffer, start, end, free = self
        if not rows.shape[-2]:
            return self
        if buffer.shape[-2] < start + stop or end < free or int(at.min(initial=NEVER)) < end - start:
            new = np.empty((*rows.shape[:-2], room, rows.shape[-1]), rows.dtype)
            new[..., : end - start, :] = buffer[..., start:end, :]
            buffer, start, end, free = new, 0, end - start, 0
        buffer[..., end : start + stop, :] = 0
        np.put_along_axis(buffer, at + start, rows, axis=-2)
        return Tape(buffer, start, start + stop, free)

    def last(self, count: int, most: int = NEVER) -> Tape:
        """Returns the tape with its last rows only, in a new buffer of their size if its buffer has more than `most` rows."""
        buffer, start, stop, free = self
        if stop - count > start:
            start = stop - count
        return Tape(buffer, start, stop, free) if buffer.shape[-2] <= most else Tape.of(buffer[..., start:stop, :].copy())

    def without(self, count: int) -> Tape:
        """Returns the tape without its last rows, which may be written over unless somebody else reads them."""
        return self._replace(stop=self.stop - count)

    def lent(self) -> Tape:
        """Returns the tape whose present rows are never written over, since somebody keeps a view of them."""
        return self._replace(free=max(self.free, self.stop))

    def shared(self) -> Tape:
        """Returns the tape that copies its rows before it writes, since another one writes in this buffer."""
        return self._replace(free=NEVER)


class Tapes(NamedTuple):
    """Tapes by name, `keys` and `values` (..., kv_heads, n, dim) among them, and the number of tokens seen.

    All tapes have the same leading axes; the last token stands at position length - 1.
    """

    tapes: dict[str, Tape]
    length: int

    @classmethod
    def empty(cls, names: tuple[str, ...], k: Array, v: Array) -> Tapes:
        """Returns tapes for keys and values like these."""
        return cls({name: Tape.like(k if name.endswith("keys") else v) for name in names}, 0)

    @classmethod
    def of(cls, arrays: dict[str, Array], names: tuple[str, ...]) -> Tapes:
        """Returns the tapes of a file.

        Raises:
            ValueError: arrays that do not fit each other. KeyError: an array is missing.
        """
        length, tapes = int(arrays["length"]), {name: Tape.of(arrays[name]) for name in names}
        if len({tape.buffer.shape[:-2] for tape in tapes.values()}) != 1 or not tapes["keys"].size == tapes["values"].size <= length:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise ValueError(f"a file's arrays do not fit each other and its {length} tokens: {shapes}")
        return cls(tapes, length)

    @property
    def like(self) -> tuple[Array, Array]:
        """Keys and values of the shape and dtype that are held, with any number of tokens."""
        return self.tapes["keys"].buffer, self.tapes["values"].buffer

    @property
    def low(self) -> int:
        """The position of the oldest of the keys."""
        return self.length - self.tapes["keys"].size

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        return sum(tape.rows.nbytes for tape in self.tapes.values())

    @property
    def allocated(self) -> int:
        """Bytes of the buffers."""
        return sum(tape.buffer.nbytes for tape in self.tapes.values())

    def each(self, change: Callable[[Tape], Tape]) -> Tapes:
        """Returns the same with every tape changed."""
        return Tapes({name: change(tape) for name, tape in self.tapes.items()}, self.length)

    def forked(self) -> tuple[Tapes, Tapes]:
        """Returns the tapes of a cache and of its fork: the fork writes on in place, as it is the one that will be used."""
        return self.each(Tape.shared), self.each(Tape.lent)

    def reordered(self, rows: Array) -> Tapes:
        """Returns the tapes with these rows of the first axis."""
        return self.each(lambda tape: Tape.of(tape.rows[rows]))

    def saved(self) -> dict[str, Array]:
        """Returns all arrays by name."""
        return {name: tape.rows for name, tape in self.tapes.items()} | {"length": np.array(self.length, np.int64)}
