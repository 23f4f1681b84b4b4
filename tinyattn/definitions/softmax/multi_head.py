"""Multi-head attention: every query head has its own keys and values."""

from __future__ import annotations

from tinyattn.ops.arguments import check_own_heads
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, check_scale, check_sinks, visible_keys
from tinyattn.ops.score_rule import Score
from tinyattn.ops.scores import scores_from
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def multi_head_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None, bias: Array | Bias | None = None,
                         causal: bool = False, window: Window | None = None, scale: float | None = None,
                         softcap: float | None = None, sinks: Array | None = None, score: Score | None = None) -> Array:
    """Returns attention in which every query head has its own keys and values.

    Formula: out_h = softmax(scale q_h k_h^T) v_h, with the options of `attention`.

    Shapes: q (..., heads, i, d), k (..., heads, j, d), v (..., heads, j, e) -> (..., heads, i, e).

    Raises:
        ValueError: kv_heads is not heads; otherwise as `attention`.

    Paper: Vaswani et al. 2017, arXiv:1706.03762.

    >>> import numpy as np
    >>> x = np.ones((4, 3, 2))
    >>> multi_head_attention(x, x, x).shape
    (4, 3, 2)
    """
    check_own_heads(q, k)
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    q, k, v = blank_unseen(q, k, v, visible)
    products = q @ k.mT * check_scale(scale, q.shape[-1])
    scores = scores_from(products, softcap, score, bias, visible)
    weights = softmax(scores, sinks=check_sinks(sinks, q.shape[-3], q.dtype))
    return weights @ v
