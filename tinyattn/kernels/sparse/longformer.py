"""Longformer: the exact kernel over windows and global columns, and once more for the global rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.kernels.tiles.rows import placed
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.constructors import tokens
from tinyattn.ops.masks.constructors import window as near
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e),(i,d),(j,d),(j,e)->(i,e)")
def longformer_attention(q: Array, k: Array, v: Array, *, q_global: Array, k_global: Array, v_global: Array,
                         global_tokens: Sequence[int] | Array, window: int, scale: float | None = None) -> Array:
    """Returns attention to `window` keys on each side and to the global tokens; these see all, by projections of their own.

    Formula: out_i = attention(q, k, v) over |i - j| <= window or j in G; for the rows i in G, which are taken out and computed
    together, out_i = attention(q_global, k_global, v_global).

    Shapes, options and errors are those of `tinyattn.definitions.longformer_attention`.

    Paper: Beltagy et al. 2020, arXiv:2004.05150.

    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> longformer_attention(x * 0, x * 0, x, q_global=x * 0, k_global=x * 0, v_global=x, global_tokens=[0], window=0)
    array([[2. ],
           [1.5],
           [2. ]])
    """
    chosen, width = tokens("global_tokens", global_tokens), whole("window", window, 0)
    q_len, kv_len = q.shape[-2], k.shape[-2]
    rows = chosen[(chosen >= kv_len - q_len) & (chosen < kv_len)] - (kv_len - q_len)
    local = attention(q, k, v, mask=others(width, tuple(chosen.tolist()), kv_len), scale=scale)
    wide = attention(q_global[..., rows, :], k_global, v_global, scale=scale)
    return placed(local, rows, wide)


@lru_cache(maxsize=16)
def others(width: int, chosen: tuple[int, ...], length: int) -> Pattern:
    """Returns whom the tokens that are not global see: those near them, and the global ones."""
    keys, queries = among(np.array(chosen, np.int64), length)
    return Constant((near(width, width) | keys) & ~queries)


def among(chosen: Array, length: int) -> tuple[Pattern, Pattern]:
    """Returns two patterns: whether the key, and whether the query, is one of the chosen tokens."""
    table = np.zeros(length + 1, bool)
    table[chosen[chosen < length]] = True
    count = np.concatenate(([0], np.cumsum(table[:-1])))

    def is_chosen(x: Array) -> Any:
        return table[np.maximum(x, -1)]  # the last entry, False, stands for queries before the first key

    def held(low: Array, high: Array) -> tuple[Any, Any]:
        number = count[np.maximum(high + 1, 0)] - count[np.maximum(low, 0)]
        return number > 0, number == high - low + 1

    keys = Pattern(lambda i, j: is_chosen(j), corners=lambda i0, i1, j0, j1: held(j0, j1))
    queries = Pattern(lambda i, j: is_chosen(i), corners=lambda i0, i1, j0, j1: held(i0, i1))
    return keys, queries
