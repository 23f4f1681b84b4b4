"""StateCache: for a mechanism that folds its keys into a state, the state alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from tinyattn import definitions
from tinyattn.caches.protocol import check_kind, check_queries, check_reorder, check_tokens, check_truncation
from tinyattn.ops.files import safetensors
from tinyattn.ops.types import Array


class Held(NamedTuple):
    """The state's arrays, how many tokens are in it, and the (empty) keys and values that fix the shapes."""

    state: tuple[Array, ...]
    length: int
    shapes: tuple[Array, Array]


class StateCache:
    """Keeps the state of a linear recurrence; exact, and as large after a million tokens as after one.

    nbytes = kv_heads features (value_dim + 1) itemsize for the normalised form, times the leading axes.
    `mechanism(q, k, v, causal=True, initial_state=..., return_state=True)` is `linear_attention_chunked` unless given.

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
        out, after = self.mechanism(q, k, v, causal=True, initial_state=before, return_state=True, **options)
        state = after if isinstance(after, tuple) else (after,)
        return out, Held(state, self.length + k.shape[-2], (k[..., :0, :].copy(), v[..., :0, :].copy()))

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
        state = self._held.state if len(self._held.state) > 1 else self._held.state[0]
        out: Array = self.mechanism(q, k, v, causal=False, initial_state=state, **options)
        return out

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
        k, v = self._held.shapes
        self._held = Held(tuple(array[rows] for array in self._held.state), self.length, (k[rows], v[rows]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the state as safetensors."""
        if self._held is None:
            raise ValueError("save: this cache is empty; append first")
        arrays = {f"state.{i}": array for i, array in enumerate(self._held.state)}
        arrays["keys"], arrays["values"] = self._held.shapes
        safetensors.save(path, arrays, metadata={"cache": "StateCache", "length": str(self.length)})

    @classmethod
    def load(cls, path: str | os.PathLike[str], mechanism: Callable[..., Any] | None = None) -> StateCache:
        """Returns a cache written by `save`."""
        arrays, metadata = safetensors.load_with_metadata(path)
        check_kind(metadata, "StateCache", path)
        cache = cls(mechanism)
        state = tuple(arrays[f"state.{i}"] for i in range(len(arrays) - 2))
        cache._held = Held(state, int(metadata["length"]), (arrays["keys"], arrays["values"]))
        return cache


