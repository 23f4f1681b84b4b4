"""Differential attention: one attention is subtracted from another, so that the weights they share cancel."""

from __future__ import annotations

from functools import partial

from tinyattn.definitions.softmax.dot_product import attention
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
    """Returns one attention minus lambda times a second attention over the same values.

    Formula: out = (softmax(scale q1 k1^T) - lambda softmax(scale q2 k2^T)) v. The norm per head and the factor
    1 - lambda_init, which follow in the paper, belong to a layer.

    Shapes: q1, q2 (..., heads, i, d), k1, k2 (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options: lambda_ is a number, an array of shape (), or an array (heads,) with one number per head; given as an array or a
    Tensor it has a gradient. The other options are those of `attention` and apply to both attentions.

    Raises:
        TypeError, ValueError: a lambda_ that is neither a finite number nor (heads,) of them; otherwise as `attention`.

    Paper: Ye et al. 2024, arXiv:2410.05258.

    >>> import numpy as np
    >>> q, k = np.zeros((1, 2)), np.eye(2)
    >>> differential_attention(q, k, q, k, np.array([[1.0], [3.0]]), lambda_=0.25)
    array([[1.5]])
    """
    factor = check_per_head("lambda_", lambda_, q1)
    attend = partial(attention, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks)
    return attend(q1, k1, v) - factor * attend(q2, k2, v)
