"""The gated delta rule over the kernel of states."""

from __future__ import annotations

from typing import Any

from tinyattn.kernels.states.primitive import states
from tinyattn.ops.gates import check_gate, check_log_decay
from tinyattn.ops.linear_options import check_state, still_donated
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)", "log_decay": "(j)"}, states=("initial_state",))
def gated_delta_rule(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array, scale: float | None = None,
                     initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns the delta rule on a state that decays before each token corrects it; compiled.

    Formula: S' = exp(log_decay_t) S_{t-1}, S_t = S' + beta_t k_t (v_t - S'^T k_t)^T, out_t = scale S_t^T q_t, chunk by chunk.

    Shapes, options and errors are those of `tinyattn.definitions.gated_delta_rule`.

    Paper: Yang et al. 2024, arXiv:2412.06464.

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> gated_delta_rule(k, k, v, beta=np.array([1.0, 0.5]), log_decay=np.log([1.0, 0.5]))
    array([[1.  ],
           [1.75]])
    """
    log_decay, beta = check_log_decay(log_decay, k.shape[:-1], k.dtype), check_gate("beta", beta, k.shape[:-1], k.dtype)
    first_position(q, k)
    out, state = states(q, k, v, log_decay, beta, still_donated(initial_state, check_state(initial_state, k, v)), check_scale(scale))
    return (out, state) if return_state else out
