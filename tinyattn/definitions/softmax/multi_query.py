"""Multi-query attention: all query heads share one head of keys and values."""

from __future__ import annotations

from tinyattn.ops.arguments import check_one_head
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, check_scale, check_sinks, visible_keys
from tinyattn.ops.score_rule import Score
from tinyattn.ops.scores import scores_from
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def multi_query_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None, bias: Array | Bias | None = None,
                          causal: bool = False, window: Window | None = None, scale: float | None = None,
                          softcap: float | None = None, sinks: Array | None = None, score: Score | None = None) -> Array:
    """Returns attention in which all query heads read one head of keys and values.

    Formula: out_h = softmax(scale q_h k^T) v; the queries of all heads are stacked and multiplied by the shared keys at once.

    Shapes: q (..., heads, i, d), k (..., 1, j, d), v (..., 1, j, e) -> (..., heads, i, e).

    Raises:
        ValueError: kv_heads is not 1; otherwise as `attention`.

    Paper: Shazeer 2019, arXiv:1911.02150.

    >>> import numpy as np
    >>> q, k = np.ones((4, 3, 2)), np.ones((1, 3, 2))
    >>> multi_query_attention(q, k, k).shape
    (4, 3, 2)
    """
    check_one_head(q, k)
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    q, k, v = blank_unseen(q, k, v, visible)
    *leading, heads, q_len, head_dim = q.shape
    rows = q.reshape(*leading, heads * q_len, head_dim)
    products = rows @ k[..., 0, :, :].mT * check_scale(scale, head_dim)
    scores = scores_from(products.reshape(*leading, heads, q_len, k.shape[-2]), softcap, score, bias, visible)
    weights = softmax(scores, sinks=check_sinks(sinks, heads, q.dtype))
    out = weights.reshape(*leading, heads * q_len, k.shape[-2]) @ v[..., 0, :, :]
    return out.reshape(*leading, heads, q_len, v.shape[-1])
