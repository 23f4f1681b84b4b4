"""Heads: cut a width into them, join them, and let the heads of a group read one key head without copies."""

from __future__ import annotations

from tinyattn.ops.types import Array


def split_heads(x: Array, heads: int) -> Array:
    """Returns (..., length, heads * head_dim) as (..., heads, length, head_dim).

    Raises:
        ValueError: heads does not divide the width.

    >>> import numpy as np
    >>> split_heads(np.zeros((2, 5, 12)), 3).shape
    (2, 3, 5, 4)
    """
    *leading, length, width = x.shape
    if heads < 1 or width % heads:
        raise ValueError(f"heads: expected a divisor of the width {width}, got {heads} for shape {x.shape}")
    return x.reshape(*leading, length, heads, width // heads).swapaxes(-2, -3)


def merge_heads(x: Array) -> Array:
    """Returns (..., heads, length, head_dim) as (..., length, heads * head_dim).

    >>> import numpy as np
    >>> merge_heads(np.zeros((2, 3, 5, 4))).shape
    (2, 5, 12)
    """
    *leading, heads, length, head_dim = x.shape
    return x.swapaxes(-2, -3).reshape(*leading, length, heads * head_dim)


def fold_group(x: Array, kv_heads: int) -> Array:
    """Returns (..., heads, i, d) as (..., kv_heads, groups * i, d): the heads of a group, one below the other.

    Query head h reads kv head h // groups, so the heads of a group stand together and their rows may be read as
    more queries of one head.

    >>> import numpy as np
    >>> fold_group(np.zeros((6, 5, 4)), 2).shape
    (2, 15, 4)
    """
    *leading, heads, length, head_dim = x.shape
    if heads == kv_heads:
        return x
    return x.reshape(*leading, kv_heads, heads // max(kv_heads, 1) * length, head_dim)


def unfold_group(x: Array, heads: int) -> Array:
    """Returns (..., kv_heads, groups * i, d) as (..., heads, i, d): undoes `fold_group`.

    >>> import numpy as np
    >>> unfold_group(np.zeros((2, 15, 4)), 6).shape
    (6, 5, 4)
    """
    *leading, kv_heads, rows, width = x.shape
    if heads == kv_heads:
        return x
    return x.reshape(*leading, heads, rows * kv_heads // max(heads, 1), width)


def split_group(x: Array, kv_heads: int) -> Array:
    """Returns (..., heads, i, d) as (..., kv_heads, groups, i, d).

    >>> import numpy as np
    >>> split_group(np.zeros((6, 5, 4)), 2).shape
    (2, 3, 5, 4)
    """
    *leading, heads, length, head_dim = x.shape
    return x.reshape(*leading, kv_heads, heads // max(kv_heads, 1), length, head_dim)
