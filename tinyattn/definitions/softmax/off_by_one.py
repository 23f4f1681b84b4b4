"""Softmax off by one: a 1 in the denominator lets a head output almost nothing."""

from __future__ import annotations

import numpy as np

from tinyattn.definitions.softmax.lse import attention_with_lse
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def softmax_off_by_one_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                                 bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                                 scale: float | None = None, softcap: float | None = None) -> Array:
    """Returns attention with a 1 added to the denominator of the softmax, so that all weights of a query may be near 0.

    Formula: P_ij = exp(s_ij) / (1 + sum_j exp(s_ij)), which is softmax times a gate: out_i = sigmoid(lse_i) softmax(s_i) v.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options: as `attention`, without sinks: the added 1 is a sink of 0.

    Raises:
        TypeError, ValueError: as `attention`.

    Paper: Miller 2023, "Attention Is Off By One" (a blog); as sinks: Agarwal et al. 2025, arXiv:2508.10925.

    >>> softmax_off_by_one_attention(np.zeros((1, 2)), np.zeros((1, 2)), np.array([[4.0]]))
    array([[2.]])
    """
    out, lse = attention_with_lse(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap)
    # Not by tanh: where all scores are far below 0 the gate is tiny, and 1 + tanh would round it to 0.
    gate = np.exp(-np.logaddexp(0.0, -lse))
    return out * gate.astype(q.dtype)[..., None]
