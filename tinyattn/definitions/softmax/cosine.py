"""Cosine attention (Swin v2): scores are cosines of queries and keys, times a learned scale per head."""

from __future__ import annotations

import math

import numpy as np

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.norm import unit
from tinyattn.ops.options import Window, blank_unseen, visible_keys
from tinyattn.ops.relation_arguments import check_log_scale
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def cosine_attention(q: Array, k: Array, v: Array, *, log_scale: Array, mask: Array | Pattern | None = None,
                     bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                     softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention whose scores are the cosines of queries and keys, times a scale per head of at most 100.

    Formula: s_ij = exp(min(t_h, log 100)) (q_i . k_j) / (|q_i| |k_j|) + bias_ij; the cosine with a vector of zeros is 0, and
    a t_h above log 100 has no gradient.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_scale (heads,) -> (..., heads, i, e).

    Options: log_scale holds t, the log of the scale of each head. The others are those of `attention`, without scale. Swin's
    bias is 16 sigmoid(f), f a small network of the logs of distances.

    Raises:
        TypeError, ValueError: a log_scale of another shape or that is not finite; otherwise as `attention`.

    Paper: Liu et al. 2022, arXiv:2111.09883.

    >>> x = np.array([[1.0, 0.0], [0.0, 5.0]])
    >>> cosine_attention(x[:1], x, x, log_scale=np.zeros(1)).round(3)
    array([[0.731, 1.345]])
    """
    scale = np.exp(np.minimum(check_log_scale(log_scale, q), math.log(100.0)))
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    q, k, v = blank_unseen(q, k, v, visible)
    return attention(unit(q) * scale[:, None, None], unit(k), v, mask=visible, bias=bias, scale=1.0, softcap=softcap, sinks=sinks)
