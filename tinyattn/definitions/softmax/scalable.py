"""Scalable softmax: scores grow with the log of the number of visible keys, so that long contexts do not flatten the weights."""

from __future__ import annotations

import numpy as np

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.arguments import check_per_head
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_scale, count_visible, visible_keys
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def scalable_softmax_attention(q: Array, k: Array, v: Array, *, factor: Array | float, mask: Array | Pattern | None = None,
                               bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                               scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention whose scores are multiplied by the log of the number of keys that their query sees.

    Formula: s_ij = cap(factor log(n_i) scale q_i . k_j) + bias_ij, P_i = softmax(s_i), n_i the number of keys that mask, causal
    and window let query i see. The weights are n_i^(factor s) over their sum: how sharp they are does not depend on n_i.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options: factor is a number, or one per head (heads,). The other options are those of `attention`. A query that sees one key
    has scores of 0.

    Raises:
        TypeError, ValueError: a factor that is not finite or of another shape; otherwise as `attention`.

    Paper: Nakanishi 2025, arXiv:2501.19399.

    >>> k = np.array([[1.0], [0.0], [0.0], [0.0]])
    >>> scalable_softmax_attention(np.ones((1, 1)), k, k, factor=1.0)   # 4^1 against three times 4^0
    array([[0.57142857]])
    """
    full = (*q.shape[:-1], k.shape[-2])
    seen = count_visible(visible_keys(mask, causal, window, full), full, q.dtype)
    sharpness = check_per_head("factor", factor, q) * np.log(np.maximum(seen, 1.0))
    return attention(q * check_scale(scale, q.shape[-1]) * sharpness, k, v, mask=mask, bias=bias, causal=causal, window=window,
                     scale=1.0, softcap=softcap, sinks=sinks)
