"""Performer over the kernel of states: random features, whose products are on average the exponential of a score."""

from __future__ import annotations

from typing import Any

from tinyattn.kernels.linear.linear import linear_attention
from tinyattn.kernels.linear.random_features import random_features
from tinyattn.ops.features import check_projection
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",))
def performer(q: Array, k: Array, v: Array, *, projection: Array, normalize: bool = True, causal: bool = False,
              initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns linear attention with random features (FAVOR+), whose products are on average exp(q . k / sqrt(d)); compiled.

    Formula: out_i = sum_j w_ij v_j / sum_j w_ij, w_ij = f(q_i) . f(k_j), f being `performer_features` with the directions
    `projection`, over j <= i if causal.

    Shapes, options and errors are those of `tinyattn.definitions.performer`.

    Paper: Choromanski et al. 2020, arXiv:2009.14794.

    >>> import numpy as np
    >>> performer(np.zeros((1, 2)), np.zeros((2, 2)), np.array([[1.0], [3.0]]), projection=np.ones((4, 2)))
    array([[2.]])
    """
    projection = check_projection(q, projection).astype(q.dtype)
    return linear_attention(random_features(q, projection), random_features(k, projection), v, feature_map=None, normalize=normalize,
                            causal=causal, initial_state=initial_state, return_state=return_state)
