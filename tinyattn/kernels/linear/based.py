"""Based over the kernel of states: linear attention with features whose products are the first terms of the exponential of a score."""

from __future__ import annotations

from typing import Any

from tinyattn.kernels.linear.linear import linear_attention
from tinyattn.ops.features import taylor_features
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",))
def based(q: Array, k: Array, v: Array, *, normalize: bool = True, causal: bool = False, initial_state: Any = None,
          return_state: bool = False) -> Any:
    """Returns linear attention with features whose products are 1 + s + s^2 / 2, the first terms of exp(s); compiled.

    Formula: out_i = sum_j w_ij v_j / sum_j w_ij, w_ij = f(q_i) . f(k_j) = 1 + s_ij + s_ij^2 / 2, s_ij = q_i . k_j / sqrt(d), f
    being `taylor_features`, over j <= i if causal.

    Shapes, options and errors are those of `tinyattn.definitions.based`.

    Paper: Arora et al. 2024, arXiv:2402.18668.

    >>> import numpy as np
    >>> based(np.zeros((1, 2)), np.ones((2, 2)), np.array([[1.0], [3.0]]))
    array([[2.]])
    """
    return linear_attention(q, k, v, feature_map=taylor_features, normalize=normalize, causal=causal,
                            initial_state=initial_state, return_state=return_state)
