"""Softmax off by one is attention with a sink of 0."""

from __future__ import annotations

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def softmax_off_by_one_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                                 bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                                 scale: float | None = None, softcap: float | None = None) -> Array:
    """Returns attention with a 1 in the denominator, as exp of a sink of 0 is 1; compiled.

    Formula: P_ij = exp(s_ij) / (1 + sum_j exp(s_ij)), out_i = sum_j P_ij v_j.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.softmax_off_by_one_attention`.

    Paper: Miller 2023, "Attention Is Off By One" (a blog); as sinks: Agarwal et al. 2025, arXiv:2508.10925.

    >>> softmax_off_by_one_attention(np.zeros((1, 2)), np.zeros((1, 2)), np.array([[4.0]]))
    array([[2.]])
    """
    return attention(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap,
                     sinks=np.zeros(q.shape[-3], q.dtype))
