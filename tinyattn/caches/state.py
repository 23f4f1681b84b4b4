"""StateCache: for a mechanism that folds its keys into a state, the state alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyattn import fastest
from tinyattn.caches.asked import Names, check_options, names_of
from tinyattn.caches.base import Base, exclusive
from tinyattn.caches.chunk import GATES, Chunk, check_gates, still
from tinyattn.caches.protocol import check_chunk, check_tokens
from tinyattn.ops.checks import whole
from tinyattn.ops.types import Array

State = tuple[Array, ...]
# What the cache gives its mechanism.
OWN = frozenset({"causal", "start", "initial_state", "return_state"})


class Held(NamedTuple):
    """The state after `length` tokens; check-points, (position, state) with None for nothing; the tokens since the first of them.

    `still` is one token of zeros that neither fades nor writes: what a state is asked with.
    """

    state: State | None
    length: int
    still: Chunk
    marks: tuple[tuple[int, State | None], ...]
    recent: Chunk


class StateCache(Base):
    """Keeps the state of a linear recurrence; exact, and as large after a million tokens as after one.

    `mechanism(q, k, v, initial_state=..., return_state=True)` is `tinyattn.linear_attention` unless given. Where it has such
    options it is told `causal=True`, and `start`, the position of the first key. A state cannot give back a token: with
    `slack`, the states at the last two multiples of it and the tokens since the older are kept, so that truncating by at
    most so many (from the longest it has been) is exact, by folding in again what stays.

    nbytes = kv_heads features (value_dim + 1) max(4, itemsize) for the normalised form, times the leading axes; with slack as
    much for each of two check-points, and the tokens since the older.

    >>> import numpy as np
    >>> cache = StateCache()
    >>> x = np.ones((1, 2, 3, 4))
    >>> cache.step(x, x, x).shape, cache.length, cache.nbytes
    ((1, 2, 3, 4), 3, 320)
    """

    _held: Held | None

    def __init__(self, mechanism: Callable[..., Any] | None = None, *, slack: int = 0) -> None:
        super().__init__()
        self.mechanism = fastest.linear_attention if mechanism is None else mechanism
        self.slack = whole("slack", slack, 0)
        self._names = names_of(self.mechanism, OWN)
        takes = inspect.signature(self.mechanism).parameters
        self._causal: dict[str, Any] = {"causal": True} if "causal" in takes else {}
        self._starts = "start" in takes

    def _settings(self) -> dict[str, int]:
        return {"slack": self.slack}

    @property
    def nbytes(self) -> int:
        """Bytes of the state, and of the check-points and tokens that truncating needs."""
        held = self._held
        if held is None:
            return 0
        gates = [gate for name, gate in held.recent.options.items() if name in GATES and held.marks]
        states = [array for state in (held.state, *(state for _, state in held.marks)) for array in state or ()]
        return sum(array.nbytes for array in (*states, held.recent.k, held.recent.v, *gates))

    allocated = nbytes

    def _kept(self) -> tuple[Array, Array] | None:
        return None if self._held is None else (self._held.still.k, self._held.still.v)

    @property
    def _attend_names(self) -> Names:
        known, needed, own = self._names
        return Names(None if known is None else known - GATES, needed - GATES, own | GATES)

    def _start(self, position: int) -> dict[str, Any]:
        """Returns the position of the first key, for a mechanism that asks for it."""
        return {"start": position} if self._starts else {}

    def _run(self, q: Array, chunk: Chunk, before: State | None, position: int) -> tuple[Array, State]:
        """Returns what queries read at the end of a chunk whose first key stands at a position, and the state behind it."""
        given = before[0] if before is not None and len(before) == 1 else before
        out, after = self.mechanism(q, chunk.k, chunk.v, initial_state=given, return_state=True,
                                    **{**self._causal, **self._start(position), **chunk.options})
        return out, after if isinstance(after, tuple) else (after,)

    def _folded(self, q: Array, k: Array, v: Array, options: dict[str, Any]) -> tuple[Array, Held]:
        """Returns what a chunk's queries read, and the value with the chunk, cut where there are to be check-points."""
        k, v = check_tokens(k, v, self._kept())
        check_chunk(q, k.shape[-2])
        check_gates(k, options)
        q = self._fitting(q, k)
        chunk, n = Chunk(k, v, options), k.shape[-2]
        held = self._held or Held(None, 0, still(chunk), ((0, None),) if self.slack else (), chunk.part(0, 0))
        asked_with = held.still if held.still.options.keys() >= options.keys() & GATES else still(chunk)
        length, state, outs = held.length + n, held.state, []
        last = length // self.slack * self.slack if self.slack else 0
        wanted = (last - self.slack, last) if self.slack else ()
        marks, start = list(held.marks), 0
        for stop in sorted({n, *(at - held.length for at in wanted if held.length < at < length)}):
            asked = q[..., max(0, q.shape[-2] - n + start) : max(0, q.shape[-2] - n + stop), :]
            piece = chunk if stop - start == n else chunk.part(start, stop)
            out, state = self._run(asked, piece, state, held.length + start)
            outs.append(out)
            start = stop
            if held.length + stop in wanted and held.length + stop > marks[-1][0]:
                marks.append((held.length + stop, state))
        kept = tuple(mark for mark in marks if mark[0] >= wanted[0]) if wanted else ()
        recent = held.recent
        if kept:
            recent = recent.joined(chunk).part(kept[0][0] - held.marks[0][0], length - held.marks[0][0])
        return outs[0] if len(outs) == 1 else np.concatenate(outs, axis=-2), Held(state, length, asked_with, kept, recent)

    @exclusive
    def append(self, k: Array, v: Array, log_decay: Array | None = None, beta: Array | None = None) -> None:
        """Folds n more tokens into the state; gates only where the mechanism takes them."""
        options = {name: gate for name, gate in (("log_decay", log_decay), ("beta", beta)) if gate is not None}
        if self._names.known is not None and (foreign := options.keys() - self._names.known):
            name = getattr(self.mechanism, "__name__", "this mechanism")
            raise ValueError(f"{', '.join(sorted(foreign))}: {name} takes no such gate")
        check_options("append", options, self._names)
        k, v = check_tokens(k, v, self._kept())
        _, self._held = self._folded(k[..., :0, :], k, v, options)

    @exclusive
    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Folds a chunk into the state and returns what its queries read."""
        check_options("step", options, self._names)
        out, held = self._folded(q, k, v, options)
        self._held = held
        return out

    def _read(self, q: Array, held: Held, options: dict[str, Any]) -> Array:
        if q.shape[-2] > 1:
            raise ValueError(f"q: the state holds the last position alone, got q_len {q.shape[-2]} in shape {q.shape}; "
                             f"step answers a whole chunk")
        if self._causal:  # without any key, which every query may see, nothing fades
            asked = Chunk(held.still.k[..., :0, :], held.still.v[..., :0, :], {**options, "causal": False})
            return self._run(q, asked, held.state, held.length)[0]
        asked = held.still._replace(options={**held.still.options, **options})
        return self._run(q, asked, self._unfaded(q, asked, held), held.length)[0]

    def _unfaded(self, q: Array, asked: Chunk, held: Held) -> State | None:
        """Returns the state that is the present one once it has faded by what is bound into the mechanism, which no gate shows.

        How much that is, a state of ones says: each number of a state fades by itself.
        """
        if held.state is None:
            return None
        _, kept = self._run(np.zeros_like(q), asked, tuple(np.ones_like(array) for array in held.state), held.length)
        if all((share == 1).all() for share in kept):
            return held.state
        if not all((share > 0).all() for share in kept):
            raise ValueError("attend: the mechanism itself clears the state at every token; step answers while a chunk is appended")
        return tuple(array / share for array, share in zip(held.state, kept, strict=True))

    def _cut(self, length: int) -> Held | None:
        held = self._held
        if held is None or length == 0:
            return None
        if not held.marks or length < held.marks[0][0]:
            oldest = f"from {held.marks[0][0]} on" if held.marks else f"0 or {held.length}"
            raise ValueError(f"length: a state of {held.length} tokens can be cut to lengths {oldest}, got {length}; "
                             f"slack={self.slack} says by how many")
        first = held.marks[0][0]
        marks = tuple(mark for mark in held.marks if mark[0] <= length)
        begin, state = marks[-1]
        tokens = held.recent.part(begin - first, length - first)
        _, state = self._run(tokens.k[..., :0, :], tokens, state, begin)
        return held._replace(state=state, length=length, marks=marks, recent=held.recent.part(0, length - first))

    def _picked(self, rows: Array) -> Held | None:
        held = self._held
        if held is None:
            return None

        def pick(state: State | None) -> State | None:
            return None if state is None else tuple(array[rows] for array in state)

        def tokens(chunk: Chunk) -> Chunk:
            gates = {name: gate[rows] for name, gate in chunk.options.items() if name in GATES and np.ndim(gate) > 1}
            return Chunk(chunk.k[rows], chunk.v[rows], chunk.options | gates)

        return Held(pick(held.state), held.length, tokens(held.still), tuple((at, pick(state)) for at, state in held.marks),
                    tokens(held.recent))

    def _arrays(self) -> dict[str, Array]:
        held = self._held
        if held is None:
            return {}
        others = sorted(set(held.recent.options) - GATES) if held.marks else []
        if others:
            raise ValueError(f"save: {', '.join(others)}: was given to step and would be lost; bind it to the mechanism")
        arrays = {"length": np.array(held.length, np.int64), "states": np.array(len(held.state or ()), np.int64),
                  "marks": np.array([at for at, _ in held.marks], np.int64)}
        for name, state in (("state", held.state), *((f"mark.{at}", state) for at, state in held.marks)):
            arrays |= {f"{name}.{i}": array for i, array in enumerate(state or ())}
        for name, chunk in (("still", held.still), ("recent", held.recent)):
            gates = {f"{name}.{gate}": np.asarray(array) for gate, array in chunk.options.items() if gate in GATES}
            arrays |= {f"{name}.keys": chunk.k, f"{name}.values": chunk.v} | gates
        return arrays

    def _restore(self, arrays: dict[str, Array]) -> None:
        def state(name: str, length: int) -> State | None:
            return tuple(arrays[f"{name}.{i}"] for i in range(int(arrays["states"]))) if length else None

        def chunk(name: str) -> Chunk:
            gates = {gate: arrays[f"{name}.{gate}"] for gate in sorted(GATES) if f"{name}.{gate}" in arrays}
            return Chunk(arrays[f"{name}.keys"], arrays[f"{name}.values"], gates)

        length, marks = int(arrays["length"]), tuple((int(at), state(f"mark.{at}", int(at))) for at in arrays["marks"])
        self._held = Held(state("state", length), length, chunk("still"), marks, chunk("recent"))
