"""Linear attention, parallel within chunks and recurrent between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.features import elu_plus_one
from tinyattn.ops.gates import causal_values
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_state, divided, featured, state_pair, with_ones
from tinyattn.ops.options import first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",))
def linear_attention_chunked(q: Array, k: Array, v: Array, *, feature_map: Callable[[Array], Array] | None = elu_plus_one,
                             normalize: bool = True, causal: bool = False, scale: float | None = None,
                             initial_state: Any = None, return_state: bool = False, chunk: int = 64) -> Any:
    """Returns linear attention, parallel within chunks and recurrent between them.

    Formula, for a chunk with queries Q, keys K (features applied), values V and the state S before it:
    O = Q S + tril(Q K^T) V, S' = S + K^T V. A column of ones in V makes the normaliser a column of S and the total
    weights a column of O. Not causal: every query reads the state after all keys.

    Shapes: as `linear_attention_parallel`; the length need not be a multiple of `chunk`, which has no effect.

    Raises:
        TypeError, ValueError: as `linear_attention_parallel`; chunk below 1.

    Paper: Katharopoulos et al. 2020, arXiv:2006.16236; chunks: Sun et al. 2023, arXiv:2307.08621.

    >>> k = np.zeros((2, 1)); v = np.array([[1.0], [3.0]])
    >>> linear_attention_chunked(k, k, v, causal=True, chunk=1)
    array([[1.],
           [2.]])
    """
    chunk = whole("chunk", chunk, 1)
    q, k = featured(q, k, feature_map, scale)
    state, values = check_state(initial_state, k, v, normalize), with_ones(v) if normalize else v
    first = first_position(q, k) if causal else k.shape[-2]  # the keys that every query sees
    state = (state + k[..., :first, :].mT @ values[..., :first, :])[..., None, :, :]  # (..., kv_heads, 1, d, e)
    queries, k, values = split_group(q, k.shape[-3]), k[..., None, first:, :], values[..., None, first:, :]
    parts = [np.zeros((*queries.shape[:-2], 0, values.shape[-1]), q.dtype)]
    for start in range(0, q.shape[-2], chunk):
        rows, keys, chunk_values = (x[..., start : start + chunk, :] for x in (queries, k, values))
        parts.append(rows @ state + causal_values(np.tril(rows @ keys.mT), chunk_values))
        state = state + keys.mT @ chunk_values
    sums = np.concatenate(parts, axis=-2).reshape(*q.shape[:-1], values.shape[-1])
    out, state = divided(sums) if normalize else sums, state[..., 0, :, :]
    return (out, state_pair(state) if normalize else state) if return_state else out
