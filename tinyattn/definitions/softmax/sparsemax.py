"""Sparsemax attention: weights that fall linearly with the score, and are exactly 0 below a threshold."""

from __future__ import annotations

from tinyattn.ops.bias import Bias
from tinyattn.ops.entmax import entmax
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, visible_keys
from tinyattn.ops.scores import scores_of, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def sparsemax_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                        bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                        scale: float | None = None, softcap: float | None = None) -> Array:
    """Returns attention whose weights are the point of the simplex that is nearest to the scores.

    Formula: P_ij = (s_ij - t_i)_+ with the t_i for which they sum to 1 over the keys that i sees: the scores less one number
    per query, and 0 where that is negative. Only keys less than 1 below the best one can have a weight. The gradient
    is d_s = d_P - mean(d_P over the keys with a weight) where P > 0, else 0.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options: as `attention`, without sinks.

    Raises:
        TypeError, ValueError: as `attention`.

    Paper: Martins and Astudillo 2016, arXiv:1602.02068.

    >>> import numpy as np
    >>> k = np.array([[1.0], [0.5], [-1.0]])
    >>> sparsemax_attention(np.ones((1, 1)), k, np.eye(3))
    array([[0.75, 0.25, 0.  ]])
    """
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    q, k, v = blank_unseen(q, k, v, visible)
    weights = entmax(scores_of(q, k, scale=scale, softcap=softcap, bias=bias, visible=visible), 2.0)
    return weighted_values(weights, v)
