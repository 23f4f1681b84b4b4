"""Patterns that each belong to one published mechanism."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.masks.constructors import blocks_apart, per_head
from tinyattn.ops.masks.pattern import Pattern, renamed
from tinyattn.ops.types import Array


def look_back(size: int) -> Pattern:
    """Returns i // size - j // size in (0, 1): each block sees itself and the block before it. arXiv:2001.04451.

    >>> look_back(1).dense(3, 3)[2]
    array([False,  True,  True])
    """
    size = whole("size", size, 1)
    return renamed(blocks_apart(0, 1, size=size), f"look_back({size})")


def fixed(size: int, last: int) -> Pattern:
    """Returns the keys j <= i that lie in the block of i or among the `last` tokens of any block. arXiv:1904.10509.

    >>> fixed(2, 1).dense(4, 4)[2]
    array([False,  True,  True, False])
    """
    size, last = whole("size", size, 1), whole("last", last, 1)
    if last > size:
        raise ValueError(f"last: expected at most the size {size}, got {last}")

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        first, final = j0 // size, j1 // size
        near = (i0 // size <= final) & (first <= i1 // size)
        tail = (first < final) | (j1 % size >= size - last)
        own, all_tail = (i0 // size == final) & (i1 // size == first), j0 % size >= size - last
        return (j0 <= i1) & (near | tail), (j1 <= i0) & (first == final) & (own | all_tail)

    return Pattern(lambda i, j: (j <= i) & ((i // size == j // size) | (j % size >= size - last)), corners=corners,
                   text=f"fixed({size}, {last})")


def shifted_blocks(size: int, shift: int) -> Pattern:
    """Returns (i + shift) // size == (j + shift) // size: blocks whose borders are shifted. arXiv:2309.12307.

    >>> shifted_blocks(4, 2).dense(4, 4)[0]
    array([ True,  True, False, False])
    """
    size, shift = whole("size", size, 1), whole("shift", shift, 0)
    return renamed(blocks_apart(0, 0, size=size, shift=shift), f"shifted_blocks({size}, {shift})")


def sharded(heads: int, *, size: int, local: int, stride: int) -> Pattern:
    """Returns for each head its local blocks and every stride-th block before them, which differ from head to head.

    Head h sees the blocks J <= I of `size` tokens with I - J < local or (J + h step + 1) % stride == 0, where
    step = max(1, stride // heads). It is causal within a block. arXiv:2407.17678.

    >>> sharded(2, size=1, local=1, stride=4).dense(6, 6)[1, 5]
    array([False,  True, False, False, False,  True])
    """
    heads, size, local, stride = (whole(name, n, 1) for name, n in (("heads", heads), ("size", size), ("local", local),
                                                                    ("stride", stride)))
    step = max(1, stride // heads)

    def one(h: int) -> Pattern:
        ahead = h * step + 1  # added to the blocks that the head keeps, it makes them multiples of the stride

        def see(i: Array, j: Array) -> Any:
            near = i // size - j // size < local
            return (j <= i) & (near | ((j // size + ahead) % stride == 0))

        def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
            first, final = j0 // size, j1 // size
            kept = (final + ahead) // stride > (first + ahead - 1) // stride
            some = (i0 // size - final < local) | kept
            every = (i1 // size - first < local) | (kept & (first == final))
            return (j0 <= i1) & some, (j1 <= i0) & every

        return Pattern(see, corners=corners)

    return renamed(per_head([one(h) for h in range(heads)]), f"sharded({heads}, size={size}, local={local}, stride={stride})")


def near_blocks(size: int) -> Pattern:
    """Returns |i // size - j // size| <= 1: a block sees itself and its two neighbours. arXiv:2007.14062.

    >>> near_blocks(1).dense(3, 3)[0]
    array([ True,  True, False])
    """
    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        least, most = i0 // size - j1 // size, i1 // size - j0 // size
        return (least <= 1) & (most >= -1), (least >= -1) & (most <= 1)

    return Pattern(lambda i, j: np.abs(i // size - j // size) <= 1, corners=corners, text=f"near_blocks({size})")


def ends(size: int, length: int) -> Pattern:
    """Returns whether query or key stands in the first or the last block of a text. arXiv:2007.14062.

    >>> ends(1, 3).dense(3, 3)[1]
    array([ True, False,  True])
    """
    last = (length - 1) // size * size

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        some = (i0 < size) | (i1 >= last) | (j0 < size) | (j1 >= last)
        return some, (i1 < size) | (i0 >= last) | (j1 < size) | (j0 >= last)

    return Pattern(lambda i, j: (i < size) | (i >= last) | (j < size) | (j >= last), corners=corners, text=f"ends({size}, {length})")
