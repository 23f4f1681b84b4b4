"""The value of a StateCache: a state, its check-points, and the tokens since the first of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinyattn.caches.chunk import Chunk
from tinyattn.ops.types import Array

State = tuple[Array, ...]
# Positions and the states there.
Marks = tuple[tuple[int, State | None], ...]
# The types, shapes and dtypes of the arrays and options of a chunk, which decide whether it fits.
Kinds = tuple[Any, ...]


class Folded(NamedTuple):
    """The state after `length` tokens; check-points (position, state); the tokens since the first check-point.

    A state of None is that of no tokens. `still` is a dummy token that reads the state without changing it. An `owned` state
    is in this value alone: neither a check-point nor a fork has the same arrays. Chunks of these `kinds` fit, as the last one did;
    `token` folds in one more token of them; it is None where the mechanism has no prepared form.
    """

    state: State | None
    length: int
    still: Chunk
    marks: Marks
    recent: Chunk
    owned: bool = False
    kinds: Kinds | None = None
    token: Any = None

    @property
    def like(self) -> tuple[Array, Array]:
        """Keys and values of the shape and dtype of the tokens."""
        return self.still.k, self.still.v

    @property
    def states(self) -> dict[str, State]:
        """The state and those of the check-points, by the names that they have in a file."""
        named = {"state": self.state} | {f"mark.{at}": state for at, state in self.marks}
        return {name: state for name, state in named.items() if state is not None}

    @property
    def nbytes(self) -> int:
        """Bytes of the state, and of the check-points and tokens that truncating needs."""
        states = sum(array.nbytes for state in self.states.values() for array in state)
        return states + (self.recent.nbytes if self.marks else 0)

    def forked(self) -> tuple[Folded, Folded]:
        """Returns the values of a cache and of its fork: the same, which neither writes over any more."""
        shared = self._replace(owned=False, token=None)
        return shared, shared

    def reordered(self, rows: Array) -> Folded:
        """Returns the states and tokens of these rows of the first axis."""
        def picked(state: State | None) -> State | None:
            return None if state is None else tuple(array[rows] for array in state)

        return Folded(picked(self.state), self.length, self.still.reordered(rows),
                      tuple((at, picked(state)) for at, state in self.marks), self.recent.reordered(rows))

    def saved(self) -> dict[str, Array]:
        """Returns all arrays by name."""
        if self.marks and self.recent.options:
            raise ValueError(f"save: {', '.join(sorted(self.recent.options))}: was given to step and would be lost; bind it to the "
                             f"mechanism")
        arrays = {"length": np.array(self.length, np.int64), "states": np.array(len(self.state or ()), np.int64),
                  "marks": np.array([at for at, _ in self.marks], np.int64)}
        arrays |= {f"{name}.{i}": array for name, state in self.states.items() for i, array in enumerate(state)}
        for name, chunk in (("still", self.still), ("recent", self.recent)):
            arrays |= {f"{name}.keys": chunk.k, f"{name}.values": chunk.v}
            arrays |= {f"{name}.{gate}": np.asarray(array) for gate, array in chunk.gates.items()}
        return arrays


def kinds_of(q: Array, k: Array, v: Array, options: dict[str, Any]) -> Kinds:
    """Returns what the checks of a chunk read of its arrays and options: those of the next token are mostly the same.

    >>> x = np.ones((1, 1, 4))
    >>> kinds_of(x, x, x, {"scale": 2.0}) == kinds_of(2 * x, x, x, {"scale": 3.0})
    True
    """
    kinds = [(type(x), getattr(x, "shape", None), getattr(x, "dtype", None)) for x in (q, k, v, *options.values())]
    return (*options, *kinds)


def since(held: Folded, chunk: Chunk, marks: Marks, wanted: tuple[int, ...]) -> tuple[Marks, Chunk]:
    """Returns the check-points that stay after a chunk, those from the first wanted position on, and the tokens since."""
    kept = tuple(mark for mark in marks if mark[0] >= wanted[0]) if wanted else ()
    if not kept:
        return kept, held.recent
    recent, first = held.recent.followed_by(chunk), held.marks[0][0]
    return kept, recent.part(kept[0][0] - first, recent.k.shape[-2] // recent.each)
