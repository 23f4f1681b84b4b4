"""Grouped-query attention by the exact kernel, which reads the keys and values of a group in place."""

from __future__ import annotations

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.score_rule import Score
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def grouped_query_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                            bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                            scale: float | None = None, softcap: float | None = None, sinks: Array | None = None,
                            score: Score | None = None) -> Array:
    """Returns attention in which heads // kv_heads neighbouring query heads read one head of keys and values; compiled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.grouped_query_attention`.

    Paper: Ainslie et al. 2023, arXiv:2305.13245.

    >>> import numpy as np
    >>> q, k = np.ones((4, 3, 2)), np.ones((2, 3, 2))
    >>> grouped_query_attention(q, k, k).shape
    (4, 3, 2)
    """
    return attention(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks,
                     score=score)
