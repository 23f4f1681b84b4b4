"""Log-linear attention over the kernel of states of levels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.states.level_primitive import depth_of, level_states
from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.levels import check_level_scales, check_level_states
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)", "level_scales": "(j,l)"}, states=("initial_state",))
def log_linear_attention(q: Array, k: Array, v: Array, *, log_decay: Array, level_scales: Array, scale: float | None = None,
                         initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns simple gated linear attention in which a query weighs its past by levels; compiled.

    Formula: out_i = scale sum_l level_scales_il S_il^T q_i, chunk by chunk: a chunk of 64 tokens reads its own tokens in pairs, and
    one state for each bit that is set in its number.

    Shapes, options and errors are those of `tinyattn.definitions.log_linear_attention`.

    Paper: Guo et al. 2025, arXiv:2506.04761.

    >>> ones = np.ones((4, 1)); far = np.array([0.0, 0.0, 1.0])
    >>> log_linear_attention(ones, ones, ones, log_decay=np.zeros(4), level_scales=np.tile(far, (4, 1)))[:, 0]
    array([0., 0., 2., 2.])
    """
    states, seen = check_level_states(initial_state, k, v)
    scales, log_decay = check_level_scales(level_scales, k, states, seen), check_log_decay(log_decay, k.shape[:-1], k.dtype)
    first_position(q, k)
    factor, depth = check_scale(scale), depth_of(k, states, seen)
    if not k.shape[-2]:
        out, last = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype), states
    else:
        out, last = level_states(q, k, v, log_decay, scales, states, seen, factor, depth if return_state else 0)
    return (out, (last, np.full(k.shape[:-2], seen + k.shape[-2]))) if return_state else out
