"""The weights of attention, without the values."""

from __future__ import annotations

from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, check_sinks, visible_keys
from tinyattn.ops.score_rule import Score
from tinyattn.ops.scores import scores_of
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d)->(i,j)")
def attention_weights(q: Array, k: Array, *, mask: Array | Pattern | None = None,
                      bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                      scale: float | None = None, softcap: float | None = None,
                      sinks: Array | None = None, score: Score | None = None) -> Array:
    """Returns the weights that `attention` gives its values: each row sums to 1, or to 0 where nothing is visible.

    Formula: P_ij = exp(s_ij) / (sum_j' exp(s_ij') + exp(sink)); with a sink a row sums to less than 1.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d) -> (..., heads, i, j).

    Raises:
        TypeError, ValueError: as `attention`.

    Paper: Vaswani et al. 2017, arXiv:1706.03762.

    >>> import numpy as np
    >>> attention_weights(np.zeros((2, 1)), np.zeros((2, 1)), causal=True)
    array([[1. , 0. ],
           [0.5, 0.5]])
    """
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    q, k, _ = blank_unseen(q, k, k, visible)
    scores = scores_of(q, k, scale=scale, softcap=softcap, score=score, bias=bias, visible=visible)
    return softmax(scores, sinks=check_sinks(sinks, q.shape[-3], q.dtype))
