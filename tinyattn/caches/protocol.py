"""The protocol of all caches: an operation that fails leaves a cache as it was."""

from __future__ import annotations

import os
from typing import Any, Protocol

from tinyattn.ops.types import Array


class CapacityError(ValueError):
    """Raised when a cache has no room for the tokens that it is given; it keeps the tokens that it holds.

    >>> import numpy as np
    >>> from tinyattn.caches import FixedCache
    >>> FixedCache(1).append(np.ones((1, 2, 3)), np.ones((1, 2, 3)))
    Traceback (most recent call last):
        ...
    tinyattn.caches.protocol.CapacityError: this cache holds 0 of at most 1 tokens, 2 more do not fit
    """


class Cache(Protocol):
    """The tokens that a decoder layer has seen, as far as its attention needs them.

    `step` appends a chunk of any length and attends to it in one call; `append` and `attend` are the two halves, for caches that
    can do them apart. The first append fixes shapes and dtype; arrays are copied. An operation that fails leaves the cache as it
    was. A cache is for one thread at a time. Caches that keep keys also have `view()`, which returns keys, values and positions.

    >>> import numpy as np
    >>> from tinyattn.caches import Cache, GrowingCache
    >>> def decoded(cache: Cache, tokens):
    ...     return np.concatenate([cache.step(x, x, x) for x in tokens], axis=-2)
    >>> decoded(GrowingCache(), [np.ones((1, 2, 4)), np.ones((1, 1, 4))]).shape
    (1, 3, 4)
    """

    exact: bool

    def append(self, k: Array, v: Array) -> None:
        """Stores keys (..., kv_heads, n, head_dim) and values (..., kv_heads, n, value_dim) of n more tokens."""

    def attend(self, q: Array, **options: Any) -> Array:
        """Returns the causal attention of queries that stand at the last q_len stored positions."""

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns the attention of its queries, which is computed before anything is stored."""

    def positions(self, count: int) -> Array:
        """Returns the positions of the next `count` tokens, (count,) or (rows, count)."""

    def truncate(self, length: int) -> None:
        """Removes all tokens from position `length` on."""

    def fork(self) -> Cache:
        """Returns an independent cache with the same tokens."""

    def reorder(self, indices: Array) -> None:
        """Replaces row i of the first axis by row indices[i], as beam search needs."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the stored arrays to a safetensors file."""

    @property
    def length(self) -> int:
        """Number of tokens stored."""

    @property
    def capacity(self) -> int | None:
        """Number of tokens that fit; None if there is no limit."""

    @property
    def nbytes(self) -> int:
        """Bytes that the stored tokens need."""

    @property
    def allocated(self) -> int:
        """Bytes of the buffers."""
