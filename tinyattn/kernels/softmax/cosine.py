"""Cosine attention: the exact kernel on unit queries, which carry their head's scale, and unit keys."""

from __future__ import annotations

import math

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.softmax.norms import unit_in_numpy, unit_times
from tinyattn.kernels.tiles.seen import without_hidden
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.relation_arguments import check_log_scale
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def cosine_attention(q: Array, k: Array, v: Array, *, log_scale: Array, mask: Array | Pattern | None = None,
                     bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                     softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention whose scores are the cosines of queries and keys, times a scale per head of at most 100; compiled.

    Formula: out = attention(exp(min(t, log 100)) q / |q|, k / |k|, v, scale=1).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_scale (heads,) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.cosine_attention`.

    Paper: Liu et al. 2022, arXiv:2111.09883.

    >>> x = np.array([[1.0, 0.0], [0.0, 5.0]])
    >>> cosine_attention(x[:1], x, x, log_scale=np.zeros(1)).round(3)
    array([[0.731, 1.345]])
    """
    scale = np.exp(np.minimum(check_log_scale(log_scale, q), math.log(100.0)))
    q, k, v = without_hidden(q, k, v, mask, causal, window)
    unit = unit_times if q.size and k.size else unit_in_numpy
    return attention(unit(q, scale[:, None, None]), unit(k, None), v, mask=mask, bias=bias, causal=causal, window=window, scale=1.0,
                     softcap=softcap, sinks=sinks)
