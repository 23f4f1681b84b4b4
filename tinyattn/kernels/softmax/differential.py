"""Differential attention: two calls of the exact kernel."""

from __future__ import annotations

from functools import partial

from tinyattn.kernels.softmax.around import difference
from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.arguments import check_per_head
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(i,d),(j,d),(j,e)->(i,e)")
def differential_attention(q1: Array, k1: Array, q2: Array, k2: Array, v: Array, *, lambda_: float | Array,
                           mask: Array | Pattern | None = None, bias: Array | Bias | None = None, causal: bool = False,
                           window: Window | None = None, scale: float | None = None, softcap: float | None = None,
                           sinks: Array | None = None) -> Array:
    """Returns one attention minus lambda times another over the same values; compiled.

    Formula: out = (softmax(scale q1 k1^T) - lambda softmax(scale q2 k2^T)) v.

    Shapes: q1, q2 (..., heads, i, d), k1, k2 (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.differential_attention`.

    Paper: Ye et al. 2024, arXiv:2410.05258.

    >>> import numpy as np
    >>> q, k = np.zeros((1, 2)), np.eye(2)
    >>> differential_attention(q, k, q, k, np.array([[1.0], [3.0]]), lambda_=0.25)
    array([[1.5]])
    """
    factor = check_per_head("lambda_", lambda_, q1)
    attend = partial(attention, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks)
    first, second = attend(q1, k1, v), attend(q2, k2, v)
    return difference(second, factor, first) if first.size else first
