"""Large arrays on pages that earlier arrays gave back.

The system clears a new page before it is written for the first time, and the C library returns the pages of large arrays as soon
as they are freed. Of attention within windows of 256 keys on 8,192 tokens, with its backward, this was a quarter of the time.
"""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np

from tinyattn.kernels.tiles.threads import each
from tinyattn.ops.types import Array

# Bytes of an array from which on its pages are kept, and of all pages that are kept while no array is on them.
LEAST, MOST = 1 << 20, 1 << 28
# Numbers that are set to 0 at once.
PART = 1 << 20

# The pages that wait, by their id, in the order in which they came back. A thread may add some while another takes some: each step on
# the dictionary is one that no other thread interrupts.
kept: dict[int, Array] = {}


class Loan:
    """What the arrays on some pages refer to; NumPy asks it where they are."""

    def __init__(self, memory: Array) -> None:
        self.__array_interface__ = memory.__array_interface__
        weakref.finalize(self, come_back, memory).atexit = False


def come_back(memory: Array) -> None:
    """Keeps pages that no array is on any more."""
    kept[id(memory)] = memory
    release(sum(waiting.nbytes for waiting in list(kept.values())) - MOST)


def release(size: int) -> None:
    """Frees the pages that have waited longest, until it was so many bytes or none are left."""
    for number in list(kept):
        if size > 0 and (oldest := kept.pop(number, None)) is not None:
            size -= oldest.nbytes


def empty(shape: int | tuple[int, ...], dtype: Any = np.float64) -> Array:
    """Returns an array of this shape with any numbers in it, as `np.empty` does.

    >>> empty((2, 3), np.float32).shape
    (2, 3)
    """
    dtype = np.dtype(dtype)
    size = (math.prod(shape) if isinstance(shape, tuple) else shape) * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    return np.asarray(Loan(taken(size))).view(dtype).reshape(shape)


def taken(size: int) -> Array:
    """Returns pages of so many bytes: the last ones that came back, or new ones, for which as many others are freed.

    So the pages in use and those that wait are never more than were in use at once.
    """
    for number, memory in reversed(list(kept.items())):
        if memory.nbytes == size and kept.pop(number, None) is not None:
            return memory
    release(size)
    return np.empty(size, np.uint8)


def zeros(shape: int | tuple[int, ...], dtype: Any = np.float64) -> Array:
    """Returns an array of this shape filled with 0, as `np.zeros` does.

    >>> zeros((2, 3), np.float32).any()
    np.False_
    """
    found = empty(shape, dtype)
    flat = found.reshape(-1)

    def clear(n: int) -> None:
        flat[n * PART : (n + 1) * PART] = 0

    each(clear, -(-flat.size // PART), flat.size)
    return found
