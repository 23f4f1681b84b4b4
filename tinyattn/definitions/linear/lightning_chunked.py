"""Lightning attention, one chunk at a time: a state that decays by a fixed slope per head."""

from __future__ import annotations

from typing import Any

from tinyattn.definitions.linear.retention_chunked import retention_chunked
from tinyattn.ops.gates import check_slopes
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("slopes", "initial_state"))
def lightning_attention_chunked(q: Array, k: Array, v: Array, *, slopes: Array, scale: float | None = None,
                                initial_state: Array | None = None, return_state: bool = False, chunk: int = 64) -> Any:
    """Returns lightning attention one chunk at a time: `retention_chunked` whose log decay is minus the slope of the head.

    Formula, with i and j counted from 1 within a chunk of C tokens:
    O = scale ((Q exp(-slope i)) S + ((Q K^T) L) V), L_ij = exp(-slope (i - j)) for j <= i;
    S' = exp(-slope C) S + (K exp(-slope (C - j)))^T V.

    Shapes: as `lightning_attention_recurrent`; `chunk` has no effect on the result.

    Raises:
        TypeError, ValueError: as `lightning_attention_recurrent`; chunk below 1.

    Paper: Qin et al. 2024, arXiv:2401.04658; MiniMax 2025, arXiv:2501.08313.

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> lightning_attention_chunked(k, k, v, slopes=np.log(2.0), chunk=1)
    array([[1. ],
           [3.5]])
    """
    return retention_chunked(q, k, v, log_decay=-check_slopes(slopes, k.shape[-3:-2], k.dtype), scale=scale,
                             initial_state=initial_state, return_state=return_state, chunk=chunk)
