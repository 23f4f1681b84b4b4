"""DeltaProduct over the kernel of states: the gated delta rule over all steps of all tokens."""

from __future__ import annotations

from typing import Any

from tinyattn.kernels.linear.parts import by_parts
from tinyattn.kernels.states.primitive import states
from tinyattn.ops.gates import check_gate, check_steps, in_steps
from tinyattn.ops.linear_options import check_state
from tinyattn.ops.options import check_scale
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)", "log_decay": "(t)"}, states=("initial_state",))
def delta_product(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array | None = None, steps: int,
                  scale: float | None = None, initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns a delta rule in which each token decays the state once and then corrects it `steps` times; compiled.

    Formula: S_t,0 = exp(log_decay_t) S_{t-1}, S_t,s = S_t,s-1 + beta_n k_n (v_n - S_t,s-1^T k_n)^T with n = t steps + s - 1,
    out_t = scale S_t,steps^T q_t, chunk by chunk.

    Shapes, options and errors are those of `tinyattn.definitions.delta_product`.

    Paper: Siems et al. 2025, arXiv:2502.10297.

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> delta_product(k[:1], k, v, beta=np.array([1.0, 0.5]), steps=2)
    array([[2.]])
    """
    steps, _, decays = check_steps(q, k, steps, log_decay)
    beta = check_gate("beta", beta, k.shape[:-1], k.dtype)
    initial, factor, fades = check_state(initial_state, k, v), check_scale(scale), log_decay is not None

    def form(_start: int, q: Array, k: Array, v: Array, decays: Array, beta: Array, _: None, state: Array, *_none: None) -> Any:
        queries, fading = in_steps(q, decays, steps)
        read, state = states(queries, k, v, fading if fades else None, beta, state, factor)
        return read[..., steps - 1 :: steps, :], state

    out, state = by_parts(form, (q, k, v, decays, beta), (initial,))
    return (out, state) if return_state else out
