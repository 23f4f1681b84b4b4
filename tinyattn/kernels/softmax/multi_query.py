"""Multi-query attention by the exact kernel."""

from __future__ import annotations

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.arguments import check_one_head
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.score_rule import Score
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def multi_query_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                          bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                          scale: float | None = None, softcap: float | None = None, sinks: Array | None = None,
                          score: Score | None = None) -> Array:
    """Returns attention in which all query heads read one head of keys and values; compiled.

    Shapes: q (..., heads, i, d), k (..., 1, j, d), v (..., 1, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.multi_query_attention`.

    Paper: Shazeer 2019, arXiv:1911.02150.

    >>> import numpy as np
    >>> q, k = np.ones((4, 3, 2)), np.ones((1, 3, 2))
    >>> multi_query_attention(q, k, k).shape
    (4, 3, 2)
    """
    check_one_head(q, k)
    return attention(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks,
                     score=score)
