"""Scaled dot-product attention: every query averages the values, weighted by how well their keys match it."""

from __future__ import annotations

from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, check_sinks, visible_keys
from tinyattn.ops.score_rule import Score
from tinyattn.ops.scores import scores_of, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import exponentials, nonzero
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
              bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
              scale: float | None = None, softcap: float | None = None, sinks: Array | None = None,
              score: Score | None = None) -> Array:
    """Returns for every query the mean of the visible values, weighted by the softmax of its scores.

    Formula: s_ij = rule(cap(scale q_i . k_j), i, j) + bias_ij, P_ij = exp(s_ij) / (sum_j' exp(s_ij') + exp(sink)),
    out_i = sum_j P_ij v_j, over the j that i may see; cap(x) = softcap tanh(x / softcap).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e); query head h
    reads kv head h // (heads // kv_heads).

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: boolean, True attends, broadcastable to (..., heads, i, j); or a Pattern.
        bias: added to the scores after the cap, before the mask; an array or a Bias.
        causal: a query sees no later key; the last query is aligned with the last key.
        window: (left, right) counts keys besides the query's own position; None on a side is unbounded.
        scale: factor of the scores; None is d ** -0.5.
        softcap: bound of the scores; None is off.
        sinks: (heads,) logits that take part in the softmax and have no value.
        score: a rule(s, i, j) that gives each score after the cap and before the bias; a ScoreRule has parameters.

    A query that sees no key gives 0. NaN or inf in a key or value that no query of its head sees has no effect. With a
    bias of +inf on one visible key that key gets all the weight; on two visible keys the row is NaN. A sink of +inf is refused.

    Raises:
        TypeError: an argument of another kind or dtype. ValueError: one of another shape or range.

    Paper: Vaswani et al. 2017, arXiv:1706.03762.

    >>> import numpy as np
    >>> k = np.eye(2); v = np.array([[1.0], [3.0]])
    >>> attention(np.zeros((1, 2)), k, v)
    array([[2.]])
    """
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    q, k, v = blank_unseen(q, k, v, visible)
    scores = scores_of(q, k, scale=scale, softcap=softcap, score=score, bias=bias, visible=visible)
    exps, total, _ = exponentials(scores, check_sinks(sinks, q.shape[-3], q.dtype))
    # The weights are exps / total. Dividing the (i, e) result instead saves two passes over the scores, four with gradients.
    return weighted_values(exps, v) / nonzero(total)
