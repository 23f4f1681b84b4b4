"""A tape: rows in a buffer, written behind those that are there, and never over any that somebody may read."""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from tinyattn.ops.types import Array

NEVER = sys.maxsize


class Tape(NamedTuple):
    """Rows start to stop of a buffer (..., room, width), and the first row that may be written in place.

    A tape is a value: what changes it returns another one, and the rows of this one stay what they are. So a cache that
    is stopped in the middle of a change still holds what it held, copies share memory until one of them writes, and
    rows that were lent stay. A row costs O(1) on average: where there is no room the rows move to a buffer of twice
    their number, and rows that were dropped in front do not move along, so that a ring's rows lie in order, too.
    """

    buffer: Array
    start: int = 0
    stop: int = 0
    free: int = 0

    @classmethod
    def like(cls, rows: Array) -> Tape:
        """Returns an empty tape for rows of this kind."""
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
        """How many rows."""
        return self.stop - self.start

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        return self.rows.nbytes

    def extended(self, rows: Array, room: int | None = None) -> Tape:
        """Returns the tape with more rows at its end; a new buffer has `room` rows, or twice those that are held."""
        count, stop = rows.shape[-2], self.stop + rows.shape[-2]
        if not count:
            return self
        if self.stop >= self.free and stop <= self.buffer.shape[-2]:
            self.buffer[..., self.stop : stop, :] = rows
            return Tape(self.buffer, self.start, stop, self.free)
        held = self.size
        buffer = np.empty((*rows.shape[:-2], max(held + count, 2 * held) if room is None else room, rows.shape[-1]), rows.dtype)
        buffer[..., :held, :] = self.rows
        buffer[..., held : held + count, :] = rows
        return Tape(buffer, 0, held + count, 0)

    def last(self, count: int) -> Tape:
        """Returns the tape with its last rows alone."""
        return self._replace(start=max(self.start, self.stop - count))

    def fitted(self, most: int) -> Tape:
        """Returns the tape in a buffer of its own size if its buffer has more than `most` rows."""
        return self if self.buffer.shape[-2] <= most else Tape.of(self.rows.copy())

    def without(self, count: int) -> Tape:
        """Returns the tape without its last rows; they may be written over unless somebody else reads them."""
        return self._replace(stop=self.stop - count)

    def lent(self) -> Tape:
        """Returns the tape whose rows are not written over, as somebody keeps a view of them."""
        return self._replace(free=max(self.free, self.stop))

    def shared(self) -> Tape:
        """Returns the tape that copies its rows before it writes: another one writes in this buffer."""
        return self._replace(free=NEVER)
