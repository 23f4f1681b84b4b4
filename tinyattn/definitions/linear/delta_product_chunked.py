"""DeltaProduct, one chunk at a time: the gated delta rule over all steps of all tokens, read after each token's last step."""

from __future__ import annotations

from typing import Any

from tinyattn.definitions.linear.gated_delta_chunked import gated_delta_rule_chunked
from tinyattn.ops.gates import check_steps, in_steps
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"beta": "(j)", "log_decay": "(t)"}, states=("initial_state",))
def delta_product_chunked(q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array | None = None, steps: int,
                          scale: float | None = None, initial_state: Array | None = None, return_state: bool = False,
                          chunk: int = 64) -> Any:
    """Returns DeltaProduct, parallel within chunks: `gated_delta_rule_chunked` over all steps, read at each token's last one.

    Formula: that of `gated_delta_rule_chunked`, in which step s = 1 .. steps of token t stands at the position
    t steps + s - 1, and the state decays at the first step of each token only.

    Shapes: as `delta_product_recurrent`; `chunk` counts steps, whose number need not be a multiple of it, and has no effect.

    Raises:
        TypeError, ValueError: as `delta_product_recurrent`; chunk below 1.

    Paper: Siems et al. 2025, arXiv:2502.10297.

    >>> import numpy as np
    >>> k = np.array([[1.0, 0.0], [np.sqrt(0.5), np.sqrt(0.5)]]); state = np.array([[1.0], [0.0]])
    >>> out, turned = delta_product_chunked(k[:1], k, np.zeros((2, 1)), beta=np.full(2, 2.0), steps=2, initial_state=state,
    ...                                     return_state=True)
    >>> np.round(turned, 12) + 0.0
    array([[0.],
           [1.]])
    """
    steps, _, log_decay = check_steps(q, k, steps, log_decay)
    queries, decays = in_steps(q, log_decay, steps)
    out, state = gated_delta_rule_chunked(queries, k, v, beta=beta, log_decay=decays, scale=scale, initial_state=initial_state,
                                          return_state=True, chunk=chunk)
    read = out[..., steps - 1 :: steps, :]
    return (read, state) if return_state else read
