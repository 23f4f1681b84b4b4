"""Simple gated linear attention (Mamba-2's SSD), one token at a time: gated linear attention with one decay per token."""

from __future__ import annotations

from typing import Any

from tinyattn.definitions.linear.gated_recurrent import gated_linear_attention_recurrent
from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)"}, states=("initial_state",))
def simple_gated_linear_attention_recurrent(q: Array, k: Array, v: Array, *, log_decay: Array, scale: float | None = None,
                                            initial_state: Array | None = None, return_state: bool = False) -> Any:
    """Returns `gated_linear_attention_recurrent` with a decay that all channels share.

    Formula: S_t = exp(log_decay_t) S_{t-1} + k_t v_t^T, out_t = scale S_t^T q_t.

    Shapes: as `simple_gated_linear_attention_parallel`.

    Raises:
        TypeError, ValueError: as `gated_linear_attention_parallel`.

    Paper: Dao and Gu 2024, arXiv:2405.21060.

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> simple_gated_linear_attention_recurrent(k, k, v, log_decay=np.log([0.5, 0.5]))
    array([[1. ],
           [3.5]])
    """
    log_decay = check_log_decay(log_decay, k.shape[:-1], k.dtype)[..., None]
    return gated_linear_attention_recurrent(q, k, v, log_decay=log_decay, scale=scale, initial_state=initial_state,
                                            return_state=return_state)
