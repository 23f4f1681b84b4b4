"""DCA, dynamic contextual attention: each token sets how far back it looks."""

from __future__ import annotations

import numpy as np

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.arguments import check_span
from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import real
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, dense_bias, visible_keys
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"span": "(i)"})
def dynamic_contextual_attention(q: Array, k: Array, v: Array, *, span: Array | float, ramp: float, causal: bool = True,
                                 mask: Array | Pattern | None = None, bias: Array | Bias | None = None,
                                 window: Window | None = None, scale: float | None = None, softcap: float | None = None,
                                 sinks: Array | None = None) -> Array:
    """Returns attention whose weights fall to 0 beyond a distance that each query sets, its span.

    Formula: m_ij = clip((ramp + span_i - |i - j|) / ramp, 0, 1), P_ij = m_ij exp(s_ij) / sum_j m_ij exp(s_ij), which
    is a bias of log m. A layer computes span_i = z_min + (z_max - z_min) sigmoid(x_i . w + b); the paper has w = 0.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), span broadcastable to (..., heads, i)
    -> (..., heads, i, e).

    Args:
        q: queries.
        k: keys.
        v: values.
        span: distance up to which weights are unchanged, 0 or more; one number serves every query.
        ramp: distance over which the factor then falls from 1 to 0.
        causal: a query sees no later key.
        mask: as `attention`.
        bias: as `attention`.
        window: as `attention`.
        scale: as `attention`.
        softcap: as `attention`.
        sinks: as `attention`.

    Raises:
        TypeError, ValueError: a span that is negative, not finite or of another shape, a ramp of 0 or less.

    Paper: Sukhbaatar et al. 2019, arXiv:1905.07799.

    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> dynamic_contextual_attention(x * 0, x * 0, x, span=np.array([0.0, 1.0, 1.0]), ramp=1.0)[:, 0]
    array([1. , 1.5, 4. ])
    """
    q_len, kv_len = q.shape[-2], k.shape[-2]
    distance = np.abs(np.arange(kv_len - q_len, kv_len)[:, None] - np.arange(kv_len)).astype(q.dtype)
    width = real("ramp", ramp, above=0.0)
    # Computed in this order, m is exactly 1 up to the span and exactly 0 from span + ramp on.
    m = (width + (check_span(span, q)[..., None] - distance)) / width
    on_ramp = (m > 0) & (m < 1)
    log_m = np.log(np.where(on_ramp, m, 1.0))  # the gradient never divides by m = 0
    full = (*q.shape[:-1], kv_len)
    seen, shown = visible_keys(mask, False, None, full), dense_bias(bias, full, q.dtype)
    return attention(q, k, v, mask=m > 0 if seen is None else seen & (m > 0), bias=log_m if shown is None else log_m + shown,
                     causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks)
