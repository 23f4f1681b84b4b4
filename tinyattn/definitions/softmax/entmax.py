"""Entmax attention: a family from softmax to the single best key, in which most keys have a weight of exactly 0."""

from __future__ import annotations

from tinyattn.ops.bias import Bias
from tinyattn.ops.entmax import entmax
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, visible_keys
from tinyattn.ops.scores import scores_of, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def entmax_attention(q: Array, k: Array, v: Array, *, alpha: float = 1.5, mask: Array | Pattern | None = None,
                     bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                     scale: float | None = None, softcap: float | None = None) -> Array:
    """Returns attention whose weights are a power of the scores above a threshold, and exactly 0 below it.

    Formula: P_ij = ((alpha - 1) (s_ij - t_i))_+^(1 / (alpha - 1)), with the t_i for which they sum to 1 over the keys that i
    sees; alpha 1 is softmax. The gradient is d_s = r (d_P - sum(r d_P) / sum(r)) with r = P^(2 - alpha) where P > 0, else 0.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options: as `attention`, without sinks. alpha is 1 or more: the larger, the fewer keys are read. t is found from the sorted
    scores for alpha 1.5 and 2, else by Newton's steps (alpha below 2) or by halving an interval.

    Raises:
        TypeError, ValueError: alpha below 1 or not finite; otherwise as `attention`.

    Paper: Peters et al. 2019, arXiv:1905.05702; in attention: Correia et al. 2019, arXiv:1909.00015.

    >>> import numpy as np
    >>> k = np.array([[2.0], [0.0], [0.0]])
    >>> entmax_attention(np.ones((1, 1)), k, np.eye(3))   # the two keys that are 2 below have no weight
    array([[1., 0., 0.]])
    """
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    q, k, v = blank_unseen(q, k, v, visible)
    weights = entmax(scores_of(q, k, scale=scale, softcap=softcap, bias=bias, visible=visible), alpha)
    return weighted_values(weights, v)
