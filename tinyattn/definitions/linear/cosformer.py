"""cosFormer: linear attention with positive features whose products decrease with the distance."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions.linear.linear_chunked import linear_attention_chunked
from tinyattn.ops.checks import whole
from tinyattn.ops.features import cosformer_features
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",))
def cosformer(q: Array, k: Array, v: Array, *, max_length: int, start: int = 0, normalize: bool = True, causal: bool = False,
              initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns linear attention on the positive parts of queries and keys, weighted by the cosine of their distance.

    Formula: out_i = sum_j w_ij v_j / sum_j w_ij, w_ij = max(q_i, 0) . max(k_j, 0) cos(pi (i - j) / (2 max_length)), over j <= i
    if causal. The last query stands at the last key.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e); the state as that of
    `linear_attention`, with 2 d features.

    Args:
        q: queries.
        k: keys.
        v: values.
        max_length: the distance at which weights reach 0; it does not depend on the length of the sequence.
        start: the position of the first key, after earlier tokens that the state holds.
        normalize: divide by the total weight.
        causal: a query sees no later key.
        initial_state: the state after earlier tokens.
        return_state: return (out, state after all keys).

    Raises:
        TypeError, ValueError: as `linear_attention`; a max_length or start that is no whole number, or too small.

    Paper: Qin et al. 2022, arXiv:2202.08791.

    >>> x = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> cosformer(x, x, v, max_length=1, causal=True).round(3)
    array([[1.],
           [3.]])
    """
    first, length = whole("start", start, 0), k.shape[-2]
    q_at, k_at = first + np.arange(length - q.shape[-2], length), first + np.arange(length)
    q, k = cosformer_features(q, q_at, max_length), cosformer_features(k, k_at, max_length)
    return linear_attention_chunked(q, k, v, feature_map=None, normalize=normalize, causal=causal, initial_state=initial_state,
                                    return_state=return_state)
