"""Linear attention over the kernel of states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinyattn.kernels.states.features import elu_plus_one as compiled_elu
from tinyattn.kernels.states.primitive import states
from tinyattn.ops.features import elu_plus_one
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.linear_options import check_state, divided, featured, state_pair, with_ones
from tinyattn.ops.options import first_position
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
    feature_map = compiled_elu if feature_map is elu_plus_one else feature_map
    q, k = featured(q, k, feature_map, scale)
    state, values = check_state(initial_state, k, v, normalize), with_ones(v) if normalize else v
    if causal:
        first_position(q, k)
        sums, state = states(q, k, values, None, None, state, 1.0)
    else:
        _, state = states(q[..., :0, :], k, values, None, None, state, 1.0)
        sums = unfold_group(fold_group(q, k.shape[-3]) @ state, q.shape[-3])
    out = divided(sums) if normalize else sums
    return (out, state_pair(state) if normalize else state) if return_state else out
