"""RWKV-7's recurrence, one chunk at a time: the generalized delta rule that reads and writes along its removal vectors."""

from __future__ import annotations

from typing import Any

from tinyattn.definitions.linear.generalized_delta_chunked import generalized_delta_rule_chunked
from tinyattn.ops.gates import check_gate, check_log_decay
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j,d)", "removal": "(j,d)", "rate": "(j,d)"}, states=("initial_state",))
def rwkv7_chunked(q: Array, k: Array, v: Array, *, log_decay: Array, removal: Array, rate: Array, scale: float | None = None,
                  initial_state: Array | None = None, return_state: bool = False, chunk: int = 16) -> Any:
    """Returns RWKV-7's recurrence, parallel within chunks: `generalized_delta_rule_chunked` with read -removal, write rate * removal.

    Formula: that of `generalized_delta_rule_chunked` with A = -removal and B = rate * removal.

    Shapes: as `rwkv7_recurrent`; the length need not be a multiple of `chunk`, which has no effect.

    Raises:
        TypeError, ValueError: as `rwkv7_recurrent`; chunk below 1.

    Paper: Peng et al. 2025, arXiv:2503.14456.

    >>> import numpy as np
    >>> k = np.ones((2, 1)); v = np.array([[8.0], [0.0]])
    >>> rwkv7_chunked(k, k, v, log_decay=np.log([[1.0], [0.75]]), removal=k, rate=np.array([[0.0], [0.5]]))
    array([[8.],
           [2.]])
    """
    log_decay = check_log_decay(log_decay, k.shape, k.dtype)
    removal, rate = check_gate("removal", removal, k.shape, k.dtype), check_gate("rate", rate, k.shape, k.dtype)
    return generalized_delta_rule_chunked(q, k, v, log_decay=log_decay, read=-removal, write=rate * removal, scale=scale,
                                          initial_state=initial_state, return_state=return_state, chunk=chunk)
