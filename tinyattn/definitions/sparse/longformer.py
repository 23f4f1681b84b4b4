"""Longformer: every token attends within a window; a few global tokens see all tokens and are seen by all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.constructors import tokens
from tinyattn.ops.masks.constructors import window as near
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e),(i,d),(j,d),(j,e)->(i,e)")
def longformer_attention(q: Array, k: Array, v: Array, *, q_global: Array, k_global: Array, v_global: Array,
                         global_tokens: Sequence[int] | Array, window: int, scale: float | None = None) -> Array:
    """Returns attention to `window` keys on each side and to global tokens, which see all keys by their own projections.

    Formula: out_i = softmax(scale q_i k^T) v over |i - j| <= window or j in G; for i in G
    out_i = softmax(scale q_global_i k_global^T) v_global over all j. A global key inside the window counts once.

    Shapes: q, q_global (..., heads, i, d), k, k_global (..., kv_heads, j, d), v, v_global (..., kv_heads, j, e)
    -> (..., heads, i, e).

    Args:
        q: queries of the tokens that are not global.
        k: the keys that these read, of all tokens.
        v: the values that these read.
        q_global: queries of the global tokens.
        k_global: the keys that global tokens read.
        v_global: the values that global tokens read.
        global_tokens: the positions of the global tokens.
        window: keys on each side, besides the query's own.
        scale: None is d ** -0.5.

    Raises:
        TypeError, ValueError: positions that are not integers of 0 or more, a negative window; otherwise as `attention`.

    Paper: Beltagy et al. 2020, arXiv:2004.05150.

    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> longformer_attention(x * 0, x * 0, x, q_global=x * 0, k_global=x * 0, v_global=x, global_tokens=[0], window=0)
    array([[2. ],
           [1.5],
           [2. ]])
    """
    chosen, width = tokens("global_tokens", global_tokens), whole("window", window, 0)
    q_len, kv_len = q.shape[-2], k.shape[-2]
    sees_all = np.isin(np.arange(kv_len - q_len, kv_len), chosen)[:, None]
    seen = near(width, width).dense(q_len, kv_len) | np.isin(np.arange(kv_len), chosen)
    local = attention(q, k, v, mask=seen & ~sees_all, scale=scale)
    wide = attention(q_global, k_global, v_global, mask=sees_all, scale=scale)
    return local + wide  # a row that sees no key is 0, so that each row comes from one of the two
