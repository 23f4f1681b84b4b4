"""Stick-breaking attention: from the nearest key backwards, each key takes a share of what the nearer ones left."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import truth
from tinyattn.ops.options import blank_unseen, first_position
from tinyattn.ops.scores import scores_of, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def stick_breaking_attention(q: Array, k: Array, v: Array, *, current: bool = False, scale: float | None = None) -> Array:
    """Returns the sum of earlier values in which each key, the nearest first, takes a share of the weight that is left.

    Formula: P_ij = sigmoid(s_ij) prod_{j < l < i} (1 - sigmoid(s_il)), out_i = sum_{j < i} P_ij v_j, with s_ij = scale q_i . k_j;
    with `current` the sums and products include i. What no key takes is left over: the weights sum to 1 or less.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e); i <= j, and the last
    query stands at the last key. Without `current` the first token sees no key, and gives 0.

    Raises:
        TypeError, ValueError: more queries than keys, a scale that is not finite, a `current` that is not a bool.

    Paper: Tan et al. 2024, arXiv:2410.17980.

    >>> x = np.zeros((3, 1))   # every share is a half
    >>> stick_breaking_attention(x, x, np.array([[8.0], [4.0], [2.0]]))[:, 0]
    array([0., 4., 4.])
    """
    return stick_breaking_attention_with_rest(q, k, v, current=current, scale=scale)[0]


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def stick_breaking_attention_with_rest(q: Array, k: Array, v: Array, *, current: bool = False,
                                       scale: float | None = None) -> tuple[Array, Array]:
    """Returns (out, rest): stick-breaking attention, and the weight of each query that no key took.

    Formula: rest_i = prod_j (1 - sigmoid(s_ij)) over all j < i, which is 1 - sum_j P_ij; with `current` j may also be i.

    Shapes: as `stick_breaking_attention`; rest (..., heads, i), float32 or wider, 1 for a query that sees no key.

    Raises:
        TypeError, ValueError: as `stick_breaking_attention`.

    Paper: Tan et al. 2024, arXiv:2410.17980.

    >>> x = np.zeros((3, 1))
    >>> stick_breaking_attention_with_rest(x, x, x)[1]
    array([1.  , 0.5 , 0.25])
    """
    first, reach = first_position(q, k), 1 if truth("current", current) else 0
    seen = np.arange(k.shape[-2]) < np.arange(first, k.shape[-2])[:, None] + reach
    q, k, v = blank_unseen(q, k, v, seen)
    scores = scores_of(q, k, scale=scale)
    # In logs, as a product of many shares below 1 would be 0: log (1 - sigmoid(s)) = -log(1 + exp(s)).
    left = np.where(seen, -np.logaddexp(0.0, scores), 0.0)
    after = np.flip(np.cumsum(np.flip(left, axis=-1), axis=-1), axis=-1)  # of key j and all nearer ones
    nearer = np.concatenate((after[..., 1:], np.zeros_like(after[..., :1])), axis=-1)
    weights = np.exp(np.where(seen, nearer - np.logaddexp(0.0, -scores), -np.inf))
    return weighted_values(weights, v), np.exp(left.sum(axis=-1))
