"""The delta rule, one chunk at a time: each token corrects the value that the state stores under its key."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.definitions.linear.gated_delta_chunked import gated_delta_rule_chunked
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)"}, states=("initial_state",))
def delta_rule_chunked(q: Array, k: Array, v: Array, *, beta: Array, scale: float | None = None,
                       initial_state: Array | None = None, return_state: bool = False, chunk: int = 64) -> Any:
    """Returns the delta rule, parallel within chunks and recurrent between them: `gated_delta_rule_chunked` without decay.

    Formula: (I + A) X = diag(beta) (V - K S), A_ij = beta_i k_i . k_j for j < i, by substitution;
    O = Q S + tril(Q K^T) X, S' = S + K^T X.

    Shapes: as `delta_rule_recurrent`; the length need not be a multiple of `chunk`, which has no effect.

    Raises:
        TypeError, ValueError: as `delta_rule_recurrent`; chunk below 1.

    Paper: Yang et al. 2024, arXiv:2406.06484.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> delta_rule_chunked(k, k, v, beta=np.array([1.0, 0.5]), chunk=2)
    array([[1.],
           [2.]])
    """
    return gated_delta_rule_chunked(q, k, v, beta=beta, log_decay=np.zeros(k.shape[:-1], k.dtype), scale=scale,
                                    initial_state=initial_state, return_state=return_state, chunk=chunk)
