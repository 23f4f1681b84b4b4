"""Performer over the kernel of states: random features, whose products are on average the exponential of a score."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.linear.linear import linear_attention
from tinyattn.kernels.linear.parts import by_parts, large
from tinyattn.kernels.linear.random_features import random_features
from tinyattn.ops.features import check_projection
from tinyattn.ops.linear_options import check_pair, check_state
from tinyattn.ops.options import first_position
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
    if causal and large(v):
        first_position(q, k)
        like = np.broadcast_to(np.zeros(1, k.dtype), (*k.shape[:-1], len(projection)))
        given = check_pair(initial_state, like, v) if normalize else (check_state(initial_state, like, v),)

        def form(_start: int, q: Array, k: Array, v: Array, _a: None, _b: None, _c: None, state: Array, total: Any,
                 projection: Array) -> Any:
            out, last = linear_attention(random_features(q, projection), random_features(k, projection), v, feature_map=None,
                                         normalize=normalize, causal=True, initial_state=(state, total) if normalize else state,
                                         return_state=True)
            return (out, *last) if normalize else (out, last)

        out, *last = by_parts(form, (q, k, v), given, projection)
        return (out, tuple(last) if normalize else last[0]) if return_state else out
    return linear_attention(random_features(q, projection), random_features(k, projection), v, feature_map=None, normalize=normalize,
                            causal=causal, initial_state=initial_state, return_state=return_state)
