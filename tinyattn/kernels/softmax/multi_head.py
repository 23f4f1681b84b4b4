"""Multi-head attention by the exact kernel."""

from __future__ import annotations

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.arguments import check_own_heads
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.score_rule import Score
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def multi_head_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                         bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                         scale: float | None = None, softcap: float | None = None, sinks: Array | None = None,
                         score: Score | None = None) -> Array:
    """Returns attention in which every query head has keys and values of its own; compiled.

    Shapes: q (..., heads, i, d), k (..., heads, j, d), v (..., heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.multi_head_attention`.

    Paper: Vaswani et al. 2017, arXiv:1706.03762.

    >>> import numpy as np
    >>> x = np.ones((4, 3, 2))
    >>> multi_head_attention(x, x, x).shape
    (4, 3, 2)
    """
    check_own_heads(q, k)
    return attention(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks,
                     score=score)
