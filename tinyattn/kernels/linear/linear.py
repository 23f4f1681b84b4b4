"""Linear attention over the kernel of states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.kernels.states.features import NONE, TAYLOR, number_of
from tinyattn.kernels.states.linear_primitive import features_of, linear_states
from tinyattn.kernels.states.taylor_primitive import taylor_states
from tinyattn.ops.features import channels, elu_plus_one
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
    division if not `normalize`. A state is kept in the place of the weights, which are never stored.

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
    width = 1 + channels("x", k) * (k.shape[-1] + 1) if feature == TAYLOR else k.shape[-1]
    return by_feature(q, k, v, feature, np.zeros(0, k.dtype), width, factor, normalize, causal, initial_state, return_state)


def by_feature(q: Array, k: Array, v: Array, feature: int, waves: Array, width: int, factor: float, normalize: bool, causal: bool,
               initial_state: Any, return_state: bool) -> Any:
    """Returns linear attention with a feature map that the kernels have, of `width` features.

    The last query and the last key stand at the last of the waves (2, positions), which only COSINE reads.
    """
    # Whose errors name the shapes of the features, as those of the definitions do.
    asks, like = (x if x.shape[-1] == width else np.broadcast_to(np.zeros(1, k.dtype), (*x.shape[:-1], width)) for x in (q, k))
    total = np.zeros(0, k.dtype)
    if normalize:
        state, total = check_pair(initial_state, like, v)
        if initial_state is not None:
            state, total = still_donated(initial_state[0], state), still_donated(initial_state[1], total)
    else:
        state = still_donated(initial_state, check_state(initial_state, like, v))
    of_keys = waves[..., max(0, waves.shape[-1] - k.shape[-2]) :]
    if causal:
        first_position(asks, like)
    if feature == TAYLOR:
        out, state, total = taylor_states(q, k, v, state, total, factor, causal)
    elif causal:
        out, state, total = linear_states(q, k, v, state, total, factor, feature, of_keys)
    else:
        _, state, total = linear_states(q[..., :0, :], k, v, state, total, factor, feature, of_keys)
        both = np.concatenate((state, total[..., None]), axis=-1) if normalize else state
        out = unfold_group(factor * fold_group(features_of(q, feature, waves), k.shape[-3]) @ both, q.shape[-3])
        out = divided(out) if normalize else out
    return (out, (state, total) if normalize else state) if return_state else out
