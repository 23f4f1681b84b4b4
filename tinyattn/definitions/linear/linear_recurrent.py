"""Linear attention, one token at a time: keys and values are summed into one matrix, the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.ops.features import elu_plus_one
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state, divided, featured, state_pair, with_ones
from tinyattn.ops.options import first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",))
def linear_attention_recurrent(q: Array, k: Array, v: Array, *, feature_map: Callable[[Array], Array] | None = elu_plus_one,
                               normalize: bool = True, causal: bool = False, scale: float | None = None,
                               initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns linear attention computed from a state to which one token is added at a time.

    Formula: S_t = S_{t-1} + f(k_t) v_t^T, z_t = z_{t-1} + f(k_t), out_t = S_t^T f(q_t) / (z_t . f(q_t)): a token is
    added before its query reads, so that it sees itself. Not causal: every query reads the last state.

    Shapes: as `linear_attention_parallel`.

    Raises:
        TypeError, ValueError: as `linear_attention_parallel`.

    Paper: Katharopoulos et al. 2020, arXiv:2006.16236.

    >>> k = np.zeros((2, 1)); v = np.array([[1.0], [3.0]])
    >>> linear_attention_recurrent(k, k, v, causal=True)
    array([[1.],
           [2.]])
    """
    q, k = featured(q, k, feature_map, scale)
    state, values = check_state(initial_state, k, v, normalize), with_ones(v) if normalize else v
    first, queries, rows = first_position(q, k) if causal else k.shape[-2], split_group(q, k.shape[-3]), []
    for t in range(k.shape[-2]):
        state = state + k[..., t, :, None] * values[..., t, None, :]
        if t >= first:
            rows.append(queries[..., t - first, :] @ state)
    sums = np.stack(rows, axis=-2) if rows else queries @ state[..., None, :, :]
    sums = sums.reshape(*q.shape[:-1], values.shape[-1])
    out = divided(sums) if normalize else sums
    return (out, state_pair(state) if normalize else state) if return_state else out
