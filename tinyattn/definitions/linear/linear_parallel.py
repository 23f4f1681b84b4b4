"""Linear attention: products of features replace the exponential; this form computes the weights of all pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.ops.features import elu_plus_one
from tinyattn.ops.gates import causal_values
from tinyattn.ops.heads import fold_group, split_group, unfold_group
from tinyattn.ops.linear_options import check_state, divided, featured, state_pair, with_ones
from tinyattn.ops.options import first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",))
def linear_attention_parallel(q: Array, k: Array, v: Array, *, feature_map: Callable[[Array], Array] | None = elu_plus_one,
                              normalize: bool = True, causal: bool = False, scale: float | None = None,
                              initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns for every query the mean of the values, weighted by the product of features of query and key.

    Formula: w_ij = scale f(q_i) . f(k_j), out_i = sum_j w_ij v_j / sum_j w_ij, over j <= i if causal; without the
    division if not `normalize`. A row of total weight 0 gives 0. State: S = sum_j f(k_j) v_j^T, z = sum_j f(k_j).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e). The state is
    S (..., kv_heads, features, e), with `normalize` the pair (S, z), z (..., kv_heads, features).

    Args:
        q: queries.
        k: keys.
        v: values.
        feature_map: applied to q and k; None if they are features already.
        normalize: divide by the total weight.
        causal: a query sees no later key; q_len <= kv_len, and the last query is aligned with the last key.
        scale: factor of the weights; None is 1.
        initial_state: the state after earlier tokens, which every query reads.
        return_state: return (out, state after all keys).

    Raises:
        ValueError: q_len above kv_len when causal, a state of another shape; otherwise as `attention`.

    Paper: Katharopoulos et al. 2020, arXiv:2006.16236.

    >>> k = np.zeros((2, 1)); v = np.array([[1.0], [3.0]])
    >>> linear_attention_parallel(k, k, v, causal=True)
    array([[1.],
           [2.]])
    """
    q, k = featured(q, k, feature_map, scale)
    state, values = check_state(initial_state, k, v, normalize), with_ones(v) if normalize else v
    heads, kv_heads = q.shape[-3], k.shape[-3]
    weights = unfold_group(fold_group(q, kv_heads) @ k.mT, heads)
    if causal:
        weights = np.tril(weights, first_position(q, k))
    weigh = causal_values if causal else np.matmul
    seen = weigh(split_group(weights, kv_heads), values[..., None, :, :]).reshape(*q.shape[:-1], values.shape[-1])
    sums = seen + unfold_group(fold_group(q, kv_heads) @ state, heads)
    out, state = divided(sums) if normalize else sums, state + k.mT @ values
    return (out, state_pair(state) if normalize else state) if return_state else out


linear_attention = linear_attention_parallel
