"""Performer: linear attention with random features, whose products are on average the exponential of a score."""

from __future__ import annotations

from functools import partial
from typing import Any

from tinyattn.definitions.linear.linear_chunked import linear_attention_chunked
from tinyattn.ops.features import performer_features
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",))
def performer(q: Array, k: Array, v: Array, *, projection: Array, normalize: bool = True, causal: bool = False,
              initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns linear attention with random features (FAVOR+), whose products are on average exp(q . k / sqrt(d)).

    Formula: out_i = sum_j w_ij v_j / sum_j w_ij, w_ij = f(q_i) . f(k_j), over j <= i if causal. The features f are
    `performer_features`: f(x) = exp(W y - |y|^2 / 2) / sqrt(features) with y = x d^(-1/4) and W the random directions `projection`.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), projection (features, d), the draw of
    `performer_projection` -> (..., heads, i, e); the state as that of `linear_attention_chunked`.

    Raises:
        TypeError, ValueError: as `linear_attention`; a projection of another kind or shape.

    Paper: Choromanski et al. 2020, arXiv:2009.14794.

    >>> import numpy as np
    >>> performer(np.zeros((1, 2)), np.zeros((2, 2)), np.array([[1.0], [3.0]]), projection=np.ones((4, 2)))
    array([[2.]])
    """
    return linear_attention_chunked(q, k, v, feature_map=partial(performer_features, projection=projection), normalize=normalize,
                                    causal=causal, initial_state=initial_state, return_state=return_state)
