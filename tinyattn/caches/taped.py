"""Caches that keep rows of tokens on tapes: their bytes, copies, rows and files."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinyattn.caches.base import Base, exclusive
from tinyattn.caches.tape import Tape
from tinyattn.ops.types import Array


class Held(NamedTuple):
    """Tapes by name, all with the same leading axes, and how many tokens have been seen."""

    tapes: dict[str, Tape]
    length: int

    def each(self, change: Callable[[Tape], Tape]) -> Held:
        """Returns the same with every tape changed."""
        return self._replace(tapes={name: change(tape) for name, tape in self.tapes.items()})


class Taped(Base):
    """A cache of tapes, `keys` and `values` (..., kv_heads, n, dim) among them, the last token at position length - 1."""

    _held: Held | None
    names: tuple[str, ...] = ("keys", "values")

    @property
    def nbytes(self) -> int:
        """Bytes that the tokens held need."""
        return 0 if self._held is None else sum(tape.nbytes for tape in self._held.tapes.values())

    @property
    def allocated(self) -> int:
        """Bytes of the buffers."""
        return 0 if self._held is None else sum(tape.buffer.nbytes for tape in self._held.tapes.values())

    def _kept(self) -> tuple[Array, Array] | None:
        return None if self._held is None else (self._held.tapes["keys"].rows, self._held.tapes["values"].rows)

    @exclusive
    def view(self) -> tuple[Array, Array, Array]:
        """Returns keys, values and their positions, read-only; what comes later does not change them.

        Raises:
            ValueError: nothing has been appended.
        """
        if self._held is None:
            raise ValueError("view: this cache is empty and has no shapes yet; append first")
        self._held = self._held.each(Tape.lent)
        keys, values, positions = self._seen(self._held)
        keys.flags.writeable = values.flags.writeable = False
        return keys, values, positions

    def _seen(self, held: Held) -> tuple[Array, Array, Array]:
        """Returns what a view shows."""
        keys = held.tapes["keys"]
        return keys.rows, held.tapes["values"].rows, np.arange(held.length - keys.size, held.length)

    def _parted(self) -> Held | None:
        held = self._held
        if held is None:
            return None
        self._held = held.each(Tape.shared)
        return held.each(Tape.lent)  # the copy writes on in place, as it is the one that will be used

    def _picked(self, rows: Array) -> Held | None:
        return self._held and self._held.each(lambda tape: Tape.of(tape.rows[rows]))

    def _arrays(self) -> dict[str, Array]:
        if self._held is None:
            return {}
        return {name: tape.rows for name, tape in self._held.tapes.items()} | {"length": np.array(self._held.length, np.int64)}

    def _restore(self, arrays: dict[str, Array]) -> None:
        length, tapes = int(arrays["length"]), {name: Tape.of(arrays[name]) for name in self.names}
        if len({tape.buffer.shape[:-2] for tape in tapes.values()}) != 1 or not tapes["keys"].size == tapes["values"].size <= length:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise ValueError(f"a file's arrays do not fit each other and its {length} tokens: {shapes}")
        self._held = Held(tapes, length)
