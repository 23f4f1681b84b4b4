"""The protocol of all caches, and the checks that they share: what fails leaves a cache as it was."""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np

from tinyattn.ops.checks import integers, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


class CapacityError(ValueError):
    """More tokens than a cache has room for; it holds what it held."""


class Cache(Protocol):
    """What a decoder layer remembers of the tokens it has seen.

    `step` appends and attends as one act and is right for a chunk of any length; `append` and `attend` are its halves
    for what allows them. Shapes and dtype are fixed by the first append, which copies. An operation that fails leaves
    the cache as it was. Not for several threads at once. Where keys are kept, `view()` gives keys, values and positions.
    """

    exact: bool

    def append(self, k: Array, v: Array) -> None:
        """Stores keys (..., kv_heads, n, head_dim) and values (..., kv_heads, n, value_dim) of n more tokens."""

    def attend(self, q: Array, **options: Any) -> Array:
        """Returns what queries at the last q_len stored positions read; always causal."""

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns what its queries read, computed before anything is stored."""

    def positions(self, count: int) -> Array:
        """Returns the positions of the next `count` tokens, (count,) or (rows, count)."""

    def truncate(self, length: int) -> None:
        """Forgets all tokens from position `length` on."""

    def fork(self) -> Cache:
        """Returns a cache with the same tokens that goes its own way."""

    def reorder(self, indices: Array) -> None:
        """Makes row i of the first axis what row indices[i] was, as beam search needs."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes what is stored as safetensors."""

    @property
    def length(self) -> int:
        """Tokens stored."""

    @property
    def capacity(self) -> int | None:
        """Tokens that fit; None is unbounded."""

    @property
    def nbytes(self) -> int:
        """Bytes that the stored tokens need."""

    @property
    def allocated(self) -> int:
        """Bytes of the buffers."""


def check_tokens(k: Array, v: Array, stored: tuple[Array, Array] | None) -> tuple[Array, Array]:
    """Returns keys and values of new tokens as plain arrays that fit what is stored.

    Raises:
        TypeError: no floating arrays, Tensors, or another dtype. ValueError: shapes that do not fit.
    """
    for name, array in (("k", k), ("v", v)):
        if not isinstance(array, np.ndarray):
            hint = "; a cache holds plain arrays, give its .value" if hasattr(array, "value") else ""
            raise TypeError(f"{name}: expected an array, got {type(array).__name__}{hint}")
    k, v = floating("k", k), floating("v", v)
    if k.ndim < 3:
        raise ValueError(f"k: expected (..., kv_heads, length, head_dim), got shape {k.shape}")
    if v.shape[:-1] != k.shape[:-1]:
        raise ValueError(f"v: expected {k.shape[:-1]} before its last axis as in k {k.shape}, got shape {v.shape}")
    if v.dtype != k.dtype:
        raise TypeError(f"v: expected the dtype of k, {k.dtype}, got {v.dtype}")
    if stored is None:
        return k, v
    for name, array, held in (("k", k, stored[0]), ("v", v, stored[1])):
        if array.dtype != held.dtype:
            raise TypeError(f"{name}: this cache holds {held.dtype}, got {array.dtype}")
        shape, held_shape = array.shape, held.shape
        if shape[:-2] != held_shape[:-2] or shape[-1] != held_shape[-1]:
            raise ValueError(f"{name}: this cache holds {(*held_shape[:-2], 'n', held_shape[-1])}, got shape {shape}")
    return k, v


def check_truncation(length: int, held: int) -> int:
    """Returns the length to keep."""
    if whole("length", length, 0) > held:
        raise ValueError(f"length: expected 0 to the {held} tokens stored, got {length}")
    return int(length)


def check_reorder(indices: Array, rows: int) -> Array:
    """Returns the rows to keep; repeated ones are copies."""
    indices = integers("indices", indices)
    if indices.ndim != 1:
        raise TypeError(f"indices: expected a list of ints, got shape {indices.shape}")
    if indices.size and not 0 <= indices.min() <= indices.max() < rows:
        raise IndexError(f"indices: expected 0 to {rows - 1}, got {int(indices.min())} to {int(indices.max())}")
    return indices


def check_queries(q: Array, length: int) -> None:
    """Raises ValueError unless the queries stand at stored positions."""
    if count_of(q) > length:
        raise ValueError(f"q: expected at most the {length} stored positions, got shape {q.shape}; "
                         f"step appends and attends as one")


def check_chunk(q: Array, count: int) -> None:
    """Raises ValueError if a chunk's queries would stand before it: positions do not go backwards."""
    if count_of(q) > count:
        raise ValueError(f"q: expected at most one query for each of the chunk's {count} tokens, got shape {q.shape}; "
                         f"attend reads at earlier positions")


def count_of(q: Array) -> int:
    """Returns how many queries a head has; TypeError if they are no plain array."""
    if not isinstance(q, np.ndarray) or q.ndim < 2:
        raise TypeError(f"q: expected an array (..., heads, q_len, head_dim), got {getattr(q, 'shape', type(q).__name__)}")
    return int(q.shape[-2])
