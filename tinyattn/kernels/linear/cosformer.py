"""cosFormer over the kernel of states: linear attention with positive features whose products decrease with the distance."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.linear.linear import by_feature
from tinyattn.kernels.states.features import COSINE
from tinyattn.ops.checks import whole
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("initial_state",))
def cosformer(q: Array, k: Array, v: Array, *, max_length: int, start: int = 0, normalize: bool = True, causal: bool = False,
              initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns linear attention on the positive parts of queries and keys, weighted by the cosine of their distance; compiled.

    Formula: out_i = sum_j w_ij v_j / sum_j w_ij, w_ij = max(q_i, 0) . max(k_j, 0) cos(pi (i - j) / (2 max_length)), over j <= i
    if causal. The last query stands at the last key.

    Shapes, options and errors are those of `tinyattn.definitions.cosformer`.

    Paper: Qin et al. 2022, arXiv:2202.08791.

    >>> x = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> cosformer(x, x, v, max_length=1, causal=True).round(3)
    array([[1.],
           [3.]])
    """
    stop = whole("start", start, 0) + k.shape[-2]
    angles = np.pi / 2 / whole("max_length", max_length, 1) * np.arange(stop - max(q.shape[-2], k.shape[-2]), stop)
    waves = np.stack((np.cos(angles), np.sin(angles))).astype(k.dtype)
    return by_feature(q, k, v, COSINE, waves, 2 * k.shape[-1], 1.0, normalize, causal, initial_state, return_state)
