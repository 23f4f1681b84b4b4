"""GrowingCache: all keys and values, in buffers that double."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np

from tinyattn import fastest
from tinyattn.caches.protocol import check_kind, check_queries, check_reorder, check_tokens, check_truncation
from tinyattn.ops.files import safetensors
from tinyattn.ops.types import Array


class Store(NamedTuple):
    """Buffers, how much of them is filled, and whether this cache alone may write behind that."""

    keys: Array
    values: Array
    length: int
    alone: bool


class GrowingCache:
    """Keeps every key and value; exact: decoding through it equals the full computation.

    nbytes = length kv_heads (head_dim + value_dim) itemsize, times the leading axes. `mechanism(q, k, v, causal=True)`
    is how queries read.

    >>> cache = GrowingCache()
    >>> x = np.ones((1, 2, 3, 4))
    >>> cache.step(x, x, x).shape, cache.length, cache.nbytes
    ((1, 2, 3, 4), 3, 384)
    """

    exact = True
    capacity = None

    def __init__(self, mechanism: Callable[..., Any] | None = None) -> None:
        self.mechanism = fastest.attention if mechanism is None else mechanism
        self._store: Store | None = None  # replaced whole, so that a failure in between leaves it as it was

    @property
    def length(self) -> int:
        """Tokens stored."""
        return 0 if self._store is None else self._store.length

    @property
    def nbytes(self) -> int:
        """Bytes that the stored tokens need."""
        return sum(part.nbytes for part in self._filled())

    @property
    def allocated(self) -> int:
        """Bytes of the buffers."""
        return 0 if self._store is None else self._store.keys.nbytes + self._store.values.nbytes

    def _filled(self) -> tuple[Array, ...]:
        if self._store is None:
            return ()
        return tuple(buffer[..., : self._store.length, :] for buffer in self._store[:2])

    def _grown(self, k: Array, v: Array) -> Store:
        """Returns the store with n more tokens; what is stored now is not touched."""
        store = self._store
        k, v = check_tokens(k, v, None if store is None else (store.keys, store.values))
        held = self.length
        need = held + k.shape[-2]
        if store is None or not store.alone or need > store.keys.shape[-2]:
            room = need if store is None else max(need, 2 * held)
            keys, values = (np.empty((*part.shape[:-2], room, part.shape[-1]), part.dtype) for part in (k, v))
            for buffer, old in zip((keys, values), self._filled(), strict=False):
                buffer[..., :held, :] = old
        else:
            keys, values = store.keys, store.values
        keys[..., held:need, :], values[..., held:need, :] = k, v
        return Store(keys, values, need, True)

    def append(self, k: Array, v: Array) -> None:
        """Stores n more tokens: k (..., kv_heads, n, head_dim), v (..., kv_heads, n, value_dim)."""
        self._store = self._grown(k, v)

    def view(self) -> tuple[Array, Array, Array]:
        """Returns keys, values and positions, read-only; a later append does not change them.

        Raises:
            ValueError: nothing has been appended.
        """
        if self._store is None:
            raise ValueError("view: this cache is empty and has no shapes yet; append first")
        keys, values = self._filled()
        keys.flags.writeable = values.flags.writeable = False
        return keys, values, np.arange(self.length)

    def attend(self, q: Array, **options: Any) -> Array:
        """Returns what queries at the last q_len positions read; options as the mechanism's."""
        check_queries(q, self.length)
        keys, values, _ = self.view()
        out: Array = self.mechanism(q, keys, values, causal=True, **options)
        return out

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns what its queries read."""
        grown = self._grown(k, v)
        check_queries(q, grown.length)
        keys, values = (buffer[..., : grown.length, :] for buffer in grown[:2])
        out: Array = self.mechanism(q, keys, values, causal=True, **options)
        self._store = grown
        return out

    def truncate(self, length: int) -> None:
        """Forgets all tokens from position `length` on."""
        length = check_truncation(length, self.length)
        if self._store is not None and length < self._store.length:
            # A view of the forgotten tokens may be out: the next append writes elsewhere.
            self._store = self._store._replace(length=length, alone=False)

    def fork(self) -> Self:
        """Returns a cache with the same tokens; memory is shared until either appends."""
        child = copy.copy(self)
        if self._store is not None:
            child._store = self._store = self._store._replace(alone=False)
        return child

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.fork()

    def reorder(self, indices: Array) -> None:
        """Makes row i of the first axis what row indices[i] was."""
        if self._store is None:
            raise ValueError("reorder: this cache is empty and has no rows yet; append first")
        if self._store.keys.ndim < 4:
            raise ValueError(f"reorder: keys {self._filled()[0].shape} have no batch axis before kv_heads")
        rows = check_reorder(indices, len(self._store.keys))
        keys, values = (part[rows] for part in self._filled())
        self._store = Store(keys, values, self.length, True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes keys and values as safetensors."""
        keys, values, _ = self.view()
        safetensors.save(path, {"keys": keys, "values": values}, metadata={"cache": type(self).__name__})

    @classmethod
    def load(cls, path: str | os.PathLike[str], mechanism: Callable[..., Any] | None = None) -> Self:
        """Returns a cache written by `save`."""
        arrays, metadata = safetensors.load_with_metadata(path)
        check_kind(metadata, cls.__name__, path)
        cache = cls() if mechanism is None else cls(mechanism)
        GrowingCache.append(cache, arrays["keys"], arrays["values"])
        return cache
