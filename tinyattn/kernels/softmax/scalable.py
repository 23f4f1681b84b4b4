"""Scalable softmax as the exact kernel on queries that are multiplied by the log of the number of keys that they see."""

from __future__ import annotations

import numpy as np

from tinyattn.kernels.softmax.around import times_rows
from tinyattn.kernels.softmax.counts import counts_of
from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.arguments import check_per_head
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_scale
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def scalable_softmax_attention(q: Array, k: Array, v: Array, *, factor: Array | float, mask: Array | Pattern | None = None,
                               bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                               scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention whose scores are multiplied by the log of the number of keys that their query sees; compiled.

    Formula: attention(factor log(n_i) q_i, k, v): as the cap comes after the products, queries may be multiplied in their place.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.scalable_softmax_attention`.

    Paper: Nakanishi 2025, arXiv:2501.19399.

    >>> k = np.array([[1.0], [0.0], [0.0], [0.0]])
    >>> scalable_softmax_attention(np.ones((1, 1)), k, k, factor=1.0)
    array([[0.57142857]])
    """
    seen = counts_of(mask, causal, window, (*q.shape[:-1], k.shape[-2]), q.dtype)
    sharpness = check_per_head("factor", factor, q) * np.log(np.maximum(seen, 1))
    factors = np.broadcast_to(sharpness * check_scale(scale, q.shape[-1]), (*q.shape[:-1], 1))
    scaled = times_rows(q, factors) if q.size and factors.dtype == q.dtype else q * factors
    return attention(scaled, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=1.0, softcap=softcap, sinks=sinks)
