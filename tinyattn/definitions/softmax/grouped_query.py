"""Grouped-query attention: groups of query heads share one head of keys and values."""

from __future__ import annotations

from tinyattn.ops.bias import Bias
from tinyattn.ops.heads import split_group
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, check_scale, check_sinks, visible_keys
from tinyattn.ops.score_rule import Score
from tinyattn.ops.scores import scores_from
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def grouped_query_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None, bias: Array | Bias | None = None,
                            causal: bool = False, window: Window | None = None, scale: float | None = None,
                            softcap: float | None = None, sinks: Array | None = None, score: Score | None = None) -> Array:
    """Returns attention in which heads // kv_heads neighbouring query heads read one head of keys and values.

    Formula: out_gr = softmax(scale q_gr k_g^T) v_g for head h = g groups + r.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Raises:
        ValueError: kv_heads does not divide heads; otherwise as `attention`.

    Paper: Ainslie et al. 2023, arXiv:2305.13245.

    >>> import numpy as np
    >>> q, k = np.ones((4, 3, 2)), np.ones((2, 3, 2))
    >>> grouped_query_attention(q, k, k).shape
    (4, 3, 2)
    """
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    q, k, v = blank_unseen(q, k, v, visible)
    products = split_group(q, k.shape[-3]) @ k[..., None, :, :].mT * check_scale(scale, q.shape[-1])
    scores = scores_from(products.reshape(*q.shape[:-1], k.shape[-2]), softcap, score, bias, visible)
    weights = softmax(scores, sinks=check_sinks(sinks, q.shape[-3], q.dtype))
    out = split_group(weights, k.shape[-3]) @ v[..., None, :, :]  # (..., kv_heads, groups, i, e)
    return out.reshape(*q.shape[:-1], v.shape[-1])
