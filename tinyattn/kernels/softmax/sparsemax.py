"""Sparsemax attention is entmax attention with alpha 2, a block of rows at a time."""

from __future__ import annotations

from tinyattn.kernels.softmax.entmax import entmax_attention
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def sparsemax_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                        bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                        scale: float | None = None, softcap: float | None = None) -> Array:
    """Returns attention whose weights are the point of the simplex nearest to the scores; memory grows with one block of rows.

    Formula: P_ij = (s_ij - t_i)_+ with the t_i for which they sum to 1.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.sparsemax_attention`.

    Paper: Martins and Astudillo 2016, arXiv:1602.02068.

    >>> import numpy as np
    >>> k = np.array([[1.0], [0.5], [-1.0]])
    >>> sparsemax_attention(np.ones((1, 1)), k, np.eye(3))
    array([[0.75, 0.25, 0.  ]])
    """
    return entmax_attention(q, k, v, alpha=2.0, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap)
