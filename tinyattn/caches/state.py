"""StateCache: only the state of a mechanism that sums its keys into one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from operator import is_
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.caches.base import Base
from tinyattn.caches.checks import check_chunk, check_keys_values
from tinyattn.caches.chunk import Chunk
from tinyattn.caches.folded import Folded, Kinds, State, kinds_of, since
from tinyattn.caches.options import Names, check_options, check_sets, gates_of, names_of, waiting_of
from tinyattn.caches.overwriting import alone, prepared, writes_over
from tinyattn.caches.turns import exclusive
from tinyattn.ops.checks import whole
from tinyattn.ops.donated import donated
from tinyattn.ops.types import Array

# The options that the cache itself sets.
OWN = frozenset({"causal", "start", "initial_state", "return_state"})
# What stands in the place of a counter while nothing is written over; it stays 0.
STILL = np.zeros(1, np.int64)


class StateCache(Base):
    """Keeps the state of a linear recurrence; exact, and as large after a million tokens as after one.

    `mechanism(q, k, v, initial_state=..., return_state=True)` is `tinyattn.linear_attention` unless given. If it
    has the options `causal` and `start`, it also gets `causal=True` and the position of the first key. Where it takes several
    steps per token, bind their number, as in `partial(delta_product, steps=2)`; a token then brings that many keys and values.
    No token can be taken out of a state: with `slack`, the states at the last two multiples of it and the tokens since the
    older one are kept, so that truncating by at most `slack` (from the greatest length so far) is exact, by folding in again
    the tokens that stay.
    A kernel of this package writes the state after a few tokens over the one before, unless a check-point or a fork has it too.

    nbytes = kv_heads features (value_dim + 1) max(4, itemsize) for the normalised form, times the leading axes; with slack as
    much for each of two check-points, and the tokens since the older one.

    Raises:
        TypeError: a mechanism that is no function, or without the options `initial_state` and `return_state`.

    >>> import numpy as np
    >>> cache = StateCache()
    >>> x = np.ones((1, 2, 3, 4))
    >>> cache.step(x, x, x).shape, cache.length, cache.nbytes
    ((1, 2, 3, 4), 3, 320)
    """

    allocated = Base.nbytes

    def __init__(self, mechanism: Callable[..., Any] | None = None, *, slack: int = 0) -> None:
        self._values: tuple[Folded | None, Folded | None, Array] = (None, None, STILL)
        super().__init__()
        self.mechanism = fastest.linear_attention if mechanism is None else mechanism
        self.slack = whole("slack", slack, 0)
        self._names, self._gates = names_of(self.mechanism, OWN), gates_of(self.mechanism)
        check_sets(self.mechanism, ("initial_state", "return_state"), "a StateCache")
        takes = inspect.signature(self.mechanism).parameters
        self._waiting = waiting_of(self.mechanism)
        self._causal: dict[str, Any] = {"causal": True} if "causal" in takes else {}
        self._starts = "start" in takes
        self._over = writes_over(self.mechanism)
        self._each = whole("steps", getattr(self.mechanism, "keywords", {}).get("steps", 1), 1)

    @property
    def _held(self) -> Folded | None:
        """The value; while tokens are written over its state, the earlier one until that begins, then at once the later one."""
        earlier, later, begun = self._values
        return later if begun[0] else earlier

    @_held.setter
    def _held(self, value: Folded | None) -> None:
        self._values = value, value, STILL

    def _settings(self) -> dict[str, int]:
        return {"slack": self.slack}

    @property
    def _attend_names(self) -> Names:
        return self._names.setting(self._gates)

    def _tokens(self, k: Array) -> int:
        """Returns how many tokens keys (..., n, d) belong to."""
        if k.shape[-2] % self._each:
            raise ValueError(f"k: expected {self._each} keys per token, one for each step, got shape {k.shape}")
        tokens: int = k.shape[-2] // self._each
        return tokens

    def _run(self, q: Array, chunk: Chunk, before: State | None, position: int) -> tuple[Array, State]:
        """Returns the output of queries at the end of a chunk whose first key stands at a position, and the state after it."""
        start = {"start": position} if self._starts else {}
        given = before[0] if before is not None and len(before) == 1 else before
        out, after = self.mechanism(q, chunk.k, chunk.v, initial_state=given, return_state=True,
                                    **{**self._causal, **start, **chunk.gates, **chunk.options})
        return out, after if isinstance(after, tuple) else (after,)

    def _checked(self, q: Array, k: Array, v: Array, options: dict[str, Any], kinds: Kinds) -> tuple[Array, Chunk, Folded]:
        """Returns the queries, the chunk, and the value before it with a dummy token that has the gates of the chunk.

        Of `kinds` that were found to fit the value before it nothing is checked again.
        """
        held = self._held
        if held is not None and held.kinds == kinds:
            return q, Chunk.sorted(k, v, options, self._gates, self._each), held
        given = q, k, v
        k, v = check_keys_values(k, v, held and held.like)
        check_chunk(q, self._tokens(k))
        chunk, q = Chunk.of(k, v, options, self._gates, self._each), self._fitting(q, k)
        if held is None:
            held = Folded(None, 0, chunk.still(self._waiting or {}), ((0, None),) if self.slack else (), chunk.part(0, 0))
        elif not held.length or not held.still.gates.keys() >= chunk.gates.keys():
            held = held._replace(still=chunk.still(self._waiting or {}))
        return q, chunk, held._replace(kinds=kinds if all(map(is_, given, (q, k, v))) else None)

    def _folded(self, q: Array, k: Array, v: Array, options: dict[str, Any], kinds: Kinds) -> tuple[Array, Folded]:
        """Returns the output of a chunk's queries, and the value after the chunk, which is cut at new check-points."""
        q, chunk, held = self._checked(q, k, v, options, kinds)
        k, v, n = chunk.k, chunk.v, self._tokens(chunk.k)
        before, length, state, outs = held.length, held.length + n, held.state, []
        last = length // self.slack * self.slack if self.slack else 0
        wanted = (last - self.slack, last) if self.slack else ()
        if held.owned and held.state and not any(before < at <= length for at in wanted):
            marks, recent = since(held, chunk, held.marks, wanted)
            after = Folded(held.state, length, held.still, marks, recent, True, held.kinds)
            begun = np.zeros(1, np.int64)
            self._values = self._held, after, begun
            out, state = self._run(q, chunk, tuple([donated(array, begun) for array in held.state]), before)
            if not begun[0]:
                return out, after._replace(state=state, owned=alone(state, (q, k, v, out, *held.state)))
            return out, after if self.slack or after.kinds is None else prepared(after, self.mechanism, q, k, v, options)
        points, start = list(held.marks), 0
        for stop in sorted({n, *(at - before for at in wanted if before < at < length)}):
            queries = q[..., max(0, q.shape[-2] - n + start) : max(0, q.shape[-2] - n + stop), :]
            out, state = self._run(queries, chunk if stop - start == n else chunk.part(start, stop), state, before + start)
            outs.append(out)
            start = stop
            if before + stop in wanted and before + stop > points[-1][0]:
                points.append((before + stop, state))
        out = outs[0] if len(outs) == 1 else np.concatenate(outs, axis=-2)
        owned = (self._over and state is not None and not any(state is mark for _, mark in points)
                 and alone(state, (q, k, v, out, *(held.state or ()))))
        return out, Folded(state, length, held.still, *since(held, chunk, tuple(points), wanted), owned, held.kinds)

    @exclusive
    def append(self, k: Array, v: Array, log_decay: Array | None = None, beta: Array | None = None, **gates: Any) -> None:
        """Folds n more tokens into the state; gates only if the mechanism takes them."""
        options = {name: gate for name, gate in ({"log_decay": log_decay, "beta": beta} | gates).items() if gate is not None}
        if self._names.known is not None and (foreign := options.keys() & self._gates - self._names.known):
            name = getattr(self.mechanism, "__name__", "this mechanism")
            raise ValueError(f"{', '.join(sorted(foreign))}: {name} takes no such gate")
        check_options("append", options, self._names)
        k, v = check_keys_values(k, v, self._held and self._held.like)
        q = k[..., :0, :]
        self._held = self._folded(q, k, v, options, kinds_of(q, k, v, options))[1]

    @exclusive
    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Folds a chunk into the state and returns the output of its queries."""
        held, kinds = self._held, kinds_of(q, k, v, options)
        if held is None or held.kinds != kinds:
            check_options("step", options, self._names)
        elif held.token is not None:
            begun = np.zeros(1, np.int64)
            later = Folded(held.state, held.length + 1, held.still, held.marks, held.recent, True, kinds, held.token)
            self._values = held, later, begun
            answer: Array | None = held.token.fold(begun, q, k, v, options)
            if answer is not None:
                return answer
        out, self._held = self._folded(q, k, v, options, kinds)
        return out

    def _attended(self, q: Array, held: Folded, options: dict[str, Any]) -> Array:
        if q.shape[-2] > 1:
            raise ValueError(f"q: the state is that of the last position only, got q_len {q.shape[-2]} in shape {q.shape}; "
                             f"step answers a whole chunk")
        if self._waiting is None:
            name = getattr(getattr(self.mechanism, "func", self.mechanism), "__name__", "this mechanism")
            raise ValueError(f"attend: what {name} reads at a token is not in the state after it; step answers while a chunk is "
                             f"appended")
        still = held.still._replace(options=options)
        if self._causal:  # no key at all, so that the state does not decay; a query would see every key
            empty = Chunk(still.k[..., :0, :], still.v[..., :0, :], {}, {**options, "causal": False})
            return self._run(q, empty, held.state, held.length)[0]
        return self._run(q, still, self._undecayed(q, still, held), held.length)[0]

    def _undecayed(self, q: Array, still: Chunk, held: Folded) -> State | None:
        """Returns the state from before a decay that is bound into the mechanism: applying this decay again gives the present state.

        A state of ones shows that decay, as each number of a state decays by itself.
        """
        if held.state is None:
            return None
        _, kept = self._run(np.zeros_like(q), still, tuple(np.ones_like(array) for array in held.state), held.length)
        if all((share == 1).all() for share in kept):
            return held.state
        if not all((share > 0).all() for share in kept):
            raise ValueError("attend: the mechanism itself clears the state at every token; step answers while a chunk is appended")
        return tuple(array / share for array, share in zip(held.state, kept, strict=True))

    def _truncated(self, held: Folded, length: int) -> Folded | None:
        if length == 0:
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
        return Folded(state, length, held.still, marks, held.recent.part(0, length - first))

    def _loaded(self, arrays: dict[str, Array]) -> Folded:
        def state(name: str, length: int) -> State | None:
            return tuple(arrays[f"{name}.{i}"] for i in range(int(arrays["states"]))) if length else None

        def chunk(name: str) -> Chunk:
            gates = {gate: arrays[f"{name}.{gate}"] for gate in sorted(self._gates) if f"{name}.{gate}" in arrays}
            return Chunk(arrays[f"{name}.keys"], arrays[f"{name}.values"], gates, {}, self._each)

        length, marks = int(arrays["length"]), tuple((int(at), state(f"mark.{at}", int(at))) for at in arrays["marks"])
        return Folded(state("state", length), length, chunk("still"), marks, chunk("recent"))
