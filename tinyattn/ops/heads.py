"""Heads: a width is split into heads and merged again, and the heads of a group read one key head without copies."""

from __future__ import annotations

from tinyattn.ops.checks import has_axes, whole
from tinyattn.ops.types import Array


def split_heads(x: Array, heads: int) -> Array:
    """Returns (..., length, heads * head_dim) as (..., heads, length, head_dim).

    Raises:
        ValueError: heads does not divide the width.

    >>> import numpy as np
    >>> split_heads(np.zeros((2, 5, 12)), 3).shape
    (2, 3, 5, 4)
    """
    *leading, length, width = has_axes("x", x, 2)
    if width % whole("heads", heads, 1):
        raise ValueError(f"heads: expected a divisor of the width {width}, got {heads} for shape {x.shape}")
    return x.reshape(*leading, length, heads, width // heads).swapaxes(-2, -3)


def merge_heads(x: Array) -> Array:
    """Returns (..., heads, length, head_dim) as (..., length, heads * head_dim).

    >>> import numpy as np
    >>> merge_heads(np.zeros((2, 3, 5, 4))).shape
    (2, 5, 12)
    """
    *leading, heads, length, head_dim = has_axes("x", x, 3)
    return x.swapaxes(-2, -3).reshape(*leading, length, heads * head_dim)


def fold_group(x: Array, kv_heads: int) -> Array:
    """Returns (..., heads, i, d) as (..., kv_heads, groups * i, d): the heads of a group become more rows of one head.

    Query head h reads kv head h // groups, so the heads of a group are adjacent.

    >>> import numpy as np
    >>> fold_group(np.zeros((6, 5, 4)), 2).shape
    (2, 15, 4)
    """
    *leading, heads, length, head_dim = has_axes("x", x, 3)
    groups = groups_of(heads, kv_heads)
    return x if heads == kv_heads else x.reshape(*leading, kv_heads, groups * length, head_dim)


def unfold_group(x: Array, heads: int) -> Array:
    """Returns (..., kv_heads, groups * i, d) as (..., heads, i, d): the inverse of `fold_group`.

    >>> import numpy as np
    >>> unfold_group(np.zeros((2, 15, 4)), 6).shape
    (6, 5, 4)
    """
    *leading, kv_heads, rows, width = has_axes("x", x, 3)
    groups = groups_of(heads, kv_heads)
    if heads == kv_heads:
        return x
    if rows and not groups:
        raise ValueError(f"heads: expected a multiple of the {kv_heads} kv_heads for the rows of x {x.shape}, got {heads}")
    if groups and rows % groups:
        raise ValueError(f"x: expected rows of {groups} groups, {heads} heads on {kv_heads}, got shape {x.shape}")
    return x.reshape(*leading, heads, rows // max(groups, 1), width)


def split_group(x: Array, kv_heads: int) -> Array:
    """Returns (..., heads, i, d) as (..., kv_heads, groups, i, d).

    >>> import numpy as np
    >>> split_group(np.zeros((6, 5, 4)), 2).shape
    (2, 3, 5, 4)
    """
    *leading, heads, length, head_dim = has_axes("x", x, 3)
    return x.reshape(*leading, kv_heads, groups_of(heads, kv_heads), length, head_dim)


def groups_of(heads: int, kv_heads: int) -> int:
    """Returns the number of query heads that read each key head.

    Raises:
        TypeError: a count is not an int. ValueError: kv_heads does not divide heads.
    """
    heads, kv_heads = whole("heads", heads, 0), whole("kv_heads", kv_heads, 0)
    if heads % kv_heads if kv_heads else heads:
        raise ValueError(f"kv_heads: expected a divisor of the {heads} heads, got {kv_heads}")
    return heads // max(kv_heads, 1)
