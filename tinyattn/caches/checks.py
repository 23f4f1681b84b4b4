"""Checks of what a cache is given, made before anything is computed or changed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from tinyattn.caches.protocol import CapacityError
from tinyattn.ops.checks import LARGEST, index_array, integers, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array

Pair = tuple[Array, Array]


def check_keys_values(k: Array, v: Array, held: Pair | None) -> Pair:
    """Returns keys and values of new tokens as plain arrays that fit the ones held.

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
    if held is None:
        return k, v
    for name, array, like in (("k", k, held[0]), ("v", v, held[1])):
        if array.dtype != like.dtype:
            raise TypeError(f"{name}: this cache holds {like.dtype}, got {array.dtype}")
        shape, wanted = array.shape, like.shape
        if shape[:-2] != wanted[:-2] or shape[-1] != wanted[-1]:
            axes = ", ".join(map(str, (*wanted[:-2], "n", wanted[-1])))
            raise ValueError(f"{name}: this cache holds ({axes}) with any n, got shape {shape}")
    return k, v


def check_positions(positions: Array, k: Array, capacity: int) -> Array:
    """Returns the positions (n,) or (..., n) at which keys (..., kv_heads, n, head_dim) are written, as int64.

    Raises:
        TypeError: no array of integers. CapacityError: a position that is not below the capacity. ValueError: a negative position,
            one that stands twice in a row, or another shape.
    """
    at = index_array("positions", positions)
    if at.shape not in ((k.shape[-2],), (*k.shape[:-3], k.shape[-2])):
        raise ValueError(f"positions: expected shape ({k.shape[-2]},), or {(*k.shape[:-3], k.shape[-2])} with a row per sequence, for "
                         f"k {k.shape}, got {at.shape}")
    if not at.size:
        return at.astype(np.int64)
    if at.min() < 0:
        raise ValueError(f"positions: expected positions from 0 on, got {int(at.min())}")
    if at.max() >= capacity:
        raise CapacityError(f"positions: expected positions below the capacity {capacity}, got {int(at.max())}")
    ordered = np.sort(at, axis=-1)
    if np.any(twice := ordered[..., 1:] == ordered[..., :-1]):
        raise ValueError(f"positions: expected each position once in a row, got {int(ordered[..., 1:][twice][0])} twice")
    return at.astype(np.int64)


def check_truncation(length: int, held: int) -> int:
    """Returns the length to keep, of at most the tokens held."""
    length = whole("length", length, -LARGEST, None)
    if not 0 <= length <= held:
        raise ValueError(f"length: expected 0 to the {held} tokens stored, got {length}")
    return length


def check_reorder(indices: Array, rows: int) -> Array:
    """Returns the indices of the rows to keep; a row that is named twice is copied."""
    indices = integers("indices", indices)
    if indices.ndim != 1:
        raise TypeError(f"indices: expected a list of ints, got shape {indices.shape}")
    if indices.size and not 0 <= indices.min() <= indices.max() < rows:
        raise IndexError(f"indices: expected 0 to {rows - 1}, got {int(indices.min())} to {int(indices.max())}")
    return indices


def count_of(q: Array) -> int:
    """Returns the number of queries per head; TypeError if they are not a plain array."""
    if not isinstance(q, ndarray) or q.ndim < 2:
        raise TypeError(f"q: expected an array (..., heads, q_len, head_dim), got {getattr(q, 'shape', type(q).__name__)}")
    return int(q.shape[-2])


def check_queries(q: Array, length: int) -> None:
    """Raises ValueError unless all queries stand at stored positions."""
    if count_of(q) > length:
        raise ValueError(f"q: expected at most the {length} stored positions, got shape {q.shape}; "
                         f"step appends and attends in one call")


def check_chunk(q: Array, count: int) -> None:
    """Raises ValueError if a chunk has more queries than tokens: the first queries would stand at earlier positions."""
    if count_of(q) > count:
        raise ValueError(f"q: expected at most one query for each of the chunk's {count} tokens, got shape {q.shape}; "
                         f"attend reads at earlier positions")


def check_fit(q: Array, k: Array) -> Array:
    """Returns queries (..., heads, i, head_dim) as a plain array; raises unless they fit keys (..., kv_heads, n, head_dim)."""
    if type(q) is not ndarray or q.ndim < 2:
        count_of(q)
    q = floating("q", q)
    if q.dtype != k.dtype:
        raise TypeError(f"q: expected the dtype of the keys, {k.dtype}, got {q.dtype}")
    shape, kv_shape = q.shape, k.shape
    if len(shape) != len(kv_shape) or shape[:-3] != kv_shape[:-3] or shape[-1] != kv_shape[-1]:
        wanted = ", ".join(map(str, (*kv_shape[:-3], "heads", "q_len", kv_shape[-1])))
        raise ValueError(f"q: expected shape ({wanted}) for keys {kv_shape}, got shape {shape}")
    heads, kv_heads = shape[-3], kv_shape[-3]
    if heads % kv_heads if heads and kv_heads else heads != kv_heads:
        raise ValueError(f"q: expected a multiple of the {kv_heads} kv_heads as heads, got {heads} in shape {shape}")
    return q


def check_beside(q: Array, k: Array, held: str) -> Array:
    """Returns queries as a plain array; raises unless their dtype and leading axes are those of what is held, called `held`."""
    count_of(q)
    q = floating("q", q)
    if q.dtype != k.dtype:
        raise TypeError(f"q: expected the dtype of the {held}, {k.dtype}, got {q.dtype}")
    if q.ndim != k.ndim or q.shape[:-3] != k.shape[:-3]:
        raise ValueError(f"q: expected the leading axes of the {held} {k.shape}, got shape {q.shape}")
    return q


def check_function(name: str, function: Any, takes: str) -> None:
    """Raises TypeError for an object that cannot be called."""
    if not callable(function):
        raise TypeError(f"{name}: expected a function of {takes}, got {type(function).__name__}")
