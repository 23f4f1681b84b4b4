"""Linear attention over the kernel of states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.kernels.states.features import NONE, number_of
from tinyattn.kernels.states.linear_primitive import features_of, linear_states
from tinyattn.ops.features import elu_plus_one
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.linear_options import check_pair, check_state, divided, featured, still_donated
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",))
def linear_attention(q: Array, k: Array, v: Array, *, feature_map: Callable[[Array], Array] | None = elu_plus_one,
                     normalize: bool = True, causal: bool = False, scale: float | None = None,
                     initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns for every query the mean of the values, weighted by the product of features of query and key; compiled.

    Formula: w_ij = scale f(q_i) . f(k_j), out_i = sum_j w_ij v_j / sum_j w_ij, over j <= i if causal; without the
    division if not `normalize`. A state stands in the place of the weights: they are never all there.

    Shapes, options and errors are those of `tinyattn.definitions.linear_attention`.

    Paper: Katharopoulos et al. 2020, arXiv:2006.16236.

    >>> import numpy as np
    >>> k = np.zeros((2, 1)); v = np.array([[1.0], [3.0]])
    >>> linear_attention(k, k, v, causal=True)
    array([[1.],
           [2.]])
    """
    feature, factor = number_of(feature_map), check_scale(scale)
    if feature is None:
        (q, k), feature, factor = featured(q, k, feature_map, scale), NONE, 1.0
    if normalize:
        state, total = check_pair(initial_state, k, v)
        if initial_state is not None:
            state, total = still_donated(initial_state[0], state), still_donated(initial_state[1], total)
    else:
        state, total = still_donated(initial_state, check_state(initial_state, k, v)), np.zeros(0, k.dtype)
    if causal:
        first_position(q, k)
        out, state, total = linear_states(q, k, v, state, total, factor, feature)
    else:
        _, state, total = linear_states(q[..., :0, :], k, v, state, total, factor, feature)
        both = np.concatenate((state, total[..., None]), axis=-1) if normalize else state
        out = unfold_group(factor * fold_group(features_of(q, feature), k.shape[-3]) @ both, q.shape[-3])
        out = divided(out) if normalize else out
    return (out, (state, total) if normalize else state) if return_state else out
