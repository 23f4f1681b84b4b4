"""The delta rule over the kernel of states."""

from __future__ import annotations

from typing import Any

from tinyattn.kernels.states.primitive import states
from tinyattn.ops.gates import check_gate
from tinyattn.ops.linear_options import check_state, still_donated
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)"}, states=("initial_state",))
def delta_rule(q: Array, k: Array, v: Array, *, beta: Array, scale: float | None = None,
               initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns what queries read from a state in which each token corrects the value stored under its key; compiled.

    Formula: S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T, out_t = scale S_t^T q_t, chunk by chunk.

    Shapes, options and errors are those of `tinyattn.definitions.delta_rule`.

    Paper: Schlag et al. 2021, arXiv:2102.11174; Yang et al. 2024, arXiv:2406.06484.

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> delta_rule(k, k, v, beta=np.array([1.0, 0.5]))
    array([[1.],
           [2.]])
    """
    beta = check_gate("beta", beta, k.shape[:-1], k.dtype)
    first_position(q, k)
    out, state = states(q, k, v, None, beta, still_donated(initial_state, check_state(initial_state, k, v)), check_scale(scale))
    return (out, state) if return_state else out
