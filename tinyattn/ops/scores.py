"""Scores: how well each query matches each key, after scale, softcap, score rule, bias and mask, in this order."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.bias import Bias
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.options import additive, check_scale, check_softcap
from tinyattn.ops.score_rule import Score, applied, check_score
from tinyattn.ops.types import Array


def scores_of(q: Array, k: Array, *, scale: float | None = None, softcap: float | None = None,
              score: Score | None = None, bias: Array | Bias | None = None, visible: Array | None = None) -> Array:
    """Returns the scores of all pairs of a query and a key; -inf where the query does not see the key.

    Formula: s_ij = rule(cap(scale q_i . k_j), i, j) + bias_ij, cap(x) = softcap tanh(x / softcap).
    q (..., heads, i, d), k (..., kv_heads, j, d) -> (..., heads, i, j).

    >>> scores_of(np.ones((1, 1, 4)), np.ones((1, 2, 4)), visible=np.array([True, False]))
    array([[[  2., -inf]]])
    """
    scaled = q * check_scale(scale, q.shape[-1])
    products = unfold_group(fold_group(scaled, k.shape[-3]) @ k.mT, q.shape[-3])
    return scores_from(products, softcap, score, bias, visible)


def scores_from(products: Array, softcap: float | None, score: Score | None, bias: Array | Bias | None,
                visible: Array | None) -> Array:
    """Returns the scores from the products scale q_i . k_j: capped, by the rule, with the bias, and -inf where not visible.

    >>> scores_from(np.array([[0.0, 1e9]]), softcap=5.0, score=lambda s, i, j: s - j, bias=None, visible=None)
    array([[0., 4.]])
    """
    softcap, rule, scores = check_softcap(softcap), check_score(score, products.shape, products.dtype), products
    if softcap is not None:
        # The cap comes before the mask, because tanh would turn -inf into -softcap and make hidden keys visible.
        scores = softcap * np.tanh(scores / softcap)
    if rule is not None:
        scores = applied(rule, scores, visible)
    added = additive(bias, visible, scores.shape, scores.dtype)
    return scores if added is None else scores + added


def weighted_values(weights: Array, v: Array) -> Array:
    """Returns sum_j weights_ij v_j: weights (..., heads, i, j), v (..., kv_heads, j, e) -> (..., heads, i, e).

    >>> weighted_values(np.array([[[0.5, 0.5]]]), np.array([[[1.0], [3.0]]]))
    array([[[2.]]])
    """
    return unfold_group(fold_group(weights, v.shape[-3]) @ v, weights.shape[-3])
