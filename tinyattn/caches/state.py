"""StateCache: for a mechanism that folds its keys into a state, the state alone."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinyattn import definitions
from tinyattn.caches.protocol import check_kind, check_queries, check_reorder, check_tokens, check_truncation
from tinyattn.ops.files import safetensors
from tinyattn.ops.types import Array

# What a mechanism may take besides keys and values, a number or a vector a token.
GATES = ("log_decay", "beta")


class Held(NamedTuple):
    """The state's arrays, how many tokens are in it, the (empty) keys and values that fix the shapes, gates of 0 for a token."""

    state: tuple[Array, ...]
    length: int
    shapes: tuple[Array, Array]
    gates: dict[str, Array]


class StateCache:
    """Keeps the state of a linear recurrence; exact, and as large after a million tokens as after one.

    nbytes = kv_heads features (value_dim + 1) itemsize for the normalised form, times the leading axes.
    `mechanism(q, k, v, initial_state=..., return_state=True)` is `linear_attention_chunked` unless given. Where it has such
    options it is told `causal=True`, and `start`, the position of the first key.

    >>> import numpy as np
    >>> cache = StateCache()
    >>> x = np.ones((1, 2, 3, 4))
    >>> cache.step(x, x, x).shape, cache.length, cache.nbytes
    ((1, 2, 3, 4), 3, 320)
    """

    exact = True
    capacity = None

    def __init__(self, mechanism: Callable[..., Any] | None = None) -> None:
        self.mechanism = definitions.linear_attention_chunked if mechanism is None else mechanism
        takes = inspect.signature(self.mechanism).parameters
        self._causal: dict[str, Any] = {"causal": True} if "causal" in takes else {}
        self._starts = "start" in takes
        self._held: Held | None = None

    @property
    def length(self) -> int:
        """Tokens folded into the state."""
        return 0 if self._held is None else self._held.length

    @property
    def nbytes(self) -> int:
        """Bytes of the state."""
        return 0 if self._held is None else sum(array.nbytes for array in self._held.state)

    allocated = nbytes

    def _run(self, q: Array, k: Array, v: Array, options: dict[str, Any]) -> tuple[Array, Held]:
        held = self._held
        k, v = check_tokens(k, v, None if held is None else held.shapes)
        before: Any = None
        if held is not None:
            before = held.state if len(held.state) > 1 else held.state[0]
        out, after = self.mechanism(q, k, v, initial_state=before, return_state=True, **self._causal, **self._start(), **options)
        state = after if isinstance(after, tuple) else (after,)
        gates = {name: still(options[name], k) for name in GATES if name in options}
        return out, Held(state, self.length + k.shape[-2], (k[..., :0, :].copy(), v[..., :0, :].copy()), gates)

    def append(self, k: Array, v: Array, log_decay: Array | None = None, beta: Array | None = None) -> None:
        """Folds n more tokens into the state; gates only where the mechanism takes them."""
        options = {name: gate for name, gate in (("log_decay", log_decay), ("beta", beta)) if gate is not None}
        k, v = check_tokens(k, v, None if self._held is None else self._held.shapes)
        try:
            _, self._held = self._run(k[..., :0, :], k, v, options)
        except TypeError as error:
            if options and "unexpected keyword" in str(error):
                raise ValueError(f"{', '.join(options)}: {self.mechanism.__name__} takes no such gate") from None
            raise

    def attend(self, q: Array, **options: Any) -> Array:
        """Returns what a query at the last position reads from the state.

        Raises:
            ValueError: more than one query: an earlier one may not see the later keys that are in the state already.
        """
        check_queries(q, self.length)
        if q.shape[-2] > 1:
            raise ValueError(f"q: the state holds the last position alone, got q_len {q.shape[-2]} in shape {q.shape}; "
                             f"step answers a whole chunk")
        if self._held is None:
            raise ValueError("attend: this cache is empty; append first")
        k, v = self._held.shapes
        if self._causal:
            options["causal"] = False
        else:  # one token must stand beside the query: of zeros, with gates of 0, it neither fades nor writes
            pad = [(0, 0)] * (k.ndim - 2) + [(0, 1), (0, 0)]
            k, v, options = np.pad(k, pad), np.pad(v, pad), self._held.gates | options
        state = self._held.state if len(self._held.state) > 1 else self._held.state[0]
        out: Array = self.mechanism(q, k, v, initial_state=state, **self._start(), **options)
        return out

    def _start(self) -> dict[str, Any]:
        return {"start": self.length} if self._starts else {}

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Folds a chunk into the state and returns what its queries read."""
        out, held = self._run(q, k, v, options)
        self._held = held
        return out

    def truncate(self, length: int) -> None:
        """Forgets everything (0) or nothing (the length held): a state cannot give back single tokens.

        Raises:
            ValueError: any other length.
        """
        length = check_truncation(length, self.length)
        if length == 0:
            self._held = None
        elif length != self.length:
            raise ValueError(f"length: a state of {self.length} tokens can be cut to 0 or stay, got {length}")

    def fork(self) -> StateCache:
        """Returns a cache with the same state; states are never written to."""
        child = StateCache(self.mechanism)
        child._held = self._held
        return child

    def __deepcopy__(self, memo: dict[int, Any]) -> StateCache:
        return self.fork()

    def reorder(self, indices: Array) -> None:
        """Makes row i of the first axis what row indices[i] was."""
        if self._held is None:
            raise ValueError("reorder: this cache is empty and has no rows yet; append first")
        if self._held.shapes[0].ndim < 4:
            raise ValueError(f"reorder: keys {self._held.shapes[0].shape} have no batch axis before kv_heads")
        rows = check_reorder(indices, len(self._held.state[0]))
        (k, v), gates = self._held.shapes, self._held.gates
        self._held = self._held._replace(state=tuple(array[rows] for array in self._held.state), shapes=(k[rows], v[rows]),
                                         gates={name: gate[rows] if gate.ndim > 1 else gate for name, gate in gates.items()})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the state as safetensors."""
        if self._held is None:
            raise ValueError("save: this cache is empty; append first")
        arrays = {f"state.{i}": array for i, array in enumerate(self._held.state)}
        arrays["keys"], arrays["values"] = self._held.shapes
        arrays |= {f"gate.{name}": gate for name, gate in self._held.gates.items()}
        safetensors.save(path, arrays, metadata={"cache": "StateCache", "length": str(self.length)})

    @classmethod
    def load(cls, path: str | os.PathLike[str], mechanism: Callable[..., Any] | None = None) -> StateCache:
        """Returns a cache written by `save`."""
        arrays, metadata = safetensors.load_with_metadata(path)
        check_kind(metadata, "StateCache", path)
        cache = cls(mechanism)
        state = tuple(arrays[name] for name in sorted(arrays) if name.startswith("state."))
        gates = {name.removeprefix("gate."): array for name, array in arrays.items() if name.startswith("gate.")}
        cache._held = Held(state, int(metadata["length"]), (arrays["keys"], arrays["values"]), gates)
        return cache


def still(gate: Array, k: Array) -> Array:
    """Returns gates of 0 for one token of keys k (..., kv_heads, n, head_dim): nothing fades, nothing is written."""
    shape = list(np.shape(gate))
    if len(shape) >= k.ndim - 1:
        shape[-2 if len(shape) == k.ndim else -1] = 1
    return np.zeros(shape, k.dtype)


