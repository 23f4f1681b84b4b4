"""Lightning attention over the kernel of states."""

from __future__ import annotations

from typing import Any

from tinyattn.kernels.linear.retention import retention
from tinyattn.ops.gates import check_slopes
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("slopes", "initial_state"))
def lightning_attention(q: Array, k: Array, v: Array, *, slopes: Array, scale: float | None = None,
                        initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns linear attention whose state decays by a fixed slope per head; compiled.

    Formula: S_t = exp(-slope) S_{t-1} + k_t v_t^T, out_t = scale S_t^T q_t, chunk by chunk.

    Shapes, options and errors are those of `tinyattn.definitions.lightning_attention`.

    Paper: Qin et al. 2024, arXiv:2401.04658; MiniMax 2025, arXiv:2501.08313.

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> lightning_attention(k, k, v, slopes=np.log(2.0))
    array([[1. ],
           [3.5]])
    """
    return retention(q, k, v, log_decay=-check_slopes(slopes, k.shape[-3:-2], k.dtype), scale=scale, initial_state=initial_state,
                     return_state=return_state)
