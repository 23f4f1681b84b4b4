"""Log-linear attention, one token at a time: one state per level of a tree over the past, each with a weight that the query sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_log_decay
from tinyattn.ops.heads import split_group
from tinyattn.ops.levels import check_level_scales, check_level_states, closed_before
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)", "level_scales": "(j,l)"}, states=("initial_state",))
def log_linear_attention_recurrent(q: Array, k: Array, v: Array, *, log_decay: Array, level_scales: Array,
                                   scale: float | None = None, initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns simple gated linear attention in which a query weighs its past by levels: near tokens alone, far ones in long segments.

    Formula: out_i = scale sum_l level_scales_il S_il^T q_i. S_i0 = k_i v_i^T is the token itself. An earlier token j is in the
    state of level 1 + (the highest bit in which i and j differ, counted from 0): before token t > 0 the states 0 .. r, r the
    number of zeros at the end of t in binary, are added into state r + 1; then all of them decay by exp(log_decay_t).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_decay (..., kv_heads, j), level_scales
    (..., kv_heads, j, levels) with levels >= 1 + ceil(log2 of all tokens) -> (..., heads, i, e); with return_state also the pair
    states (..., kv_heads, 1 + ceil(log2 of all tokens), d, e), tokens seen (..., kv_heads).

    Raises:
        TypeError, ValueError: too few levels; an initial_state that is no such pair; otherwise as `simple_gated_linear_attention`.

    Paper: Guo et al. 2025, arXiv:2506.04761.

    >>> ones = np.ones((4, 1)); far = np.array([0.0, 0.0, 1.0])
    >>> log_linear_attention_recurrent(ones, ones, ones, log_decay=np.zeros(4), level_scales=np.tile(far, (4, 1)))[:, 0]
    array([0., 0., 2., 2.])
    """
    states, seen = check_level_states(initial_state, k, v)
    scales, log_decay = check_level_scales(level_scales, k, states, seen), check_log_decay(log_decay, k.shape[:-1], k.dtype)
    first, queries = first_position(q, k), split_group(q * check_scale(scale), k.shape[-3])
    levels, decay, empty = [*np.moveaxis(states, -3, 0)], np.exp(log_decay), np.zeros_like(states[..., 0, :, :])
    rows, shape = [], (*q.shape[:-1], v.shape[-1])
    for t in range(k.shape[-2]):
        if seen + t:
            closed = closed_before(seen + t)
            levels = [*[empty] * closed, sum(levels[: closed + 1]), *levels[closed + 1 :]]
        kept, own = decay[..., t, None, None], k[..., t, :, None] * v[..., t, None, :]
        levels = [own, *(kept * level for level in levels[1:])]
        if t >= first:
            read = sum(scales[..., t, n, None, None] * level for n, level in enumerate(levels))
            rows.append(queries[..., t - first, :] @ read)
    out = np.stack(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, (np.stack(levels, axis=-3), np.full(k.shape[:-2], seen + k.shape[-2]))) if return_state else out


log_linear_attention = log_linear_attention_recurrent
