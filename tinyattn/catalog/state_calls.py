"""Further states as a decoder calls them, and the bytes of their caches."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.catalog.cache_size import CacheSize
from tinyattn.ops.types import Array

MEMORY = CacheSize("kv_heads (head_dim (value_dim + 1) + 1) itemsize", lambda length, kv_heads, head_dim, value_dim, itemsize:
                   kv_heads * (head_dim * (value_dim + 1) + 1) * itemsize)


def minimax_slopes(heads: int) -> Array:
    """Returns the slopes of MiniMax's first layer, nearly 2^(-8 (h + 1) / heads) for head h.

    >>> minimax_slopes(2).round(4)
    array([0.0625, 0.0039])
    """
    return 2.0 ** (-8.0 * np.arange(1, heads + 1) / heads) * (1 + 1e-5)


def minimax(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """Returns lightning attention with MiniMax's slopes."""
    return fastest.lightning_attention(q, k, v, slopes=minimax_slopes(k.shape[-3]).astype(k.dtype), scale=k.shape[-1] ** -0.5,
                                       **options)
