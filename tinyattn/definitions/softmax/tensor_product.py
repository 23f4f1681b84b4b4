"""Tensor product attention (TPA): queries, keys and values of all heads are sums of few outer products per token."""

from __future__ import annotations

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.bias import Bias
from tinyattn.ops.factors import Factors, factored, summed
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.types import Array


@factored("(i,d),(j,d),(j,e)->(i,e)")
def tensor_product_attention(q_factors: Factors, k_factors: Factors, v_factors: Factors, *, mask: Array | Pattern | None = None,
                             bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                             scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention over queries, keys and values that are sums of outer products of a head factor and a channel factor.

    Formula: q_hi = sum_r a_irh b_ir with the pair (a, b) of q_factors, k and v alike; out = attention(q, k, v). The paper takes
    a mean over the rank: divide one factor by the rank for it. Rotating the channel factors rotates the sums.

    Shapes: q_factors (..., i, r, heads) and (..., i, r, d), k_factors (..., j, s, kv_heads) and (..., j, s, d), v_factors
    (..., j, u, kv_heads) and (..., j, u, e), each with a rank of its own -> (..., heads, i, e).

    Options: as `attention`.

    Raises:
        TypeError, ValueError: factors that are no pair, or of shapes that do not agree; otherwise as `attention`.

    Paper: Zhang et al. 2025, arXiv:2501.06425.

    >>> import numpy as np
    >>> heads, channels = np.array([[[1.0, 0.0]], [[0.0, 1.0]]]), np.array([[[1.0]], [[3.0]]])
    >>> tensor_product_attention((0 * heads, channels), (heads, channels), (heads, channels))[..., 0]
    array([[0.5, 0.5],
           [1.5, 1.5]])
    """
    q, k, v = (summed(factors) for factors in (q_factors, k_factors, v_factors))
    return attention(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks)
