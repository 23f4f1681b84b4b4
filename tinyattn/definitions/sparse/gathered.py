"""Gathered attention: computes only the blocks that contain a visible pair, at linear cost if the pattern is local."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import check_broadcast, whole
from tinyattn.ops.masks.pattern import EMPTY, Pattern
from tinyattn.ops.options import blank_unseen, check_scale
from tinyattn.ops.scores import scores_of, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def gathered_attention(q: Array, k: Array, v: Array, *, mask: Pattern, scale: float | None = None, block: int = 16) -> Array:
    """Returns `attention` with a pattern, computing only the blocks that contain a visible pair.

    Formula: out = softmax(scale q k_J^T) v_J over the visible pairs, for each block of queries; J are the keys of all
    blocks in which one of these queries sees a key.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: a Pattern.
        scale: None is d ** -0.5.
        block: queries and keys per block; it does not change the result.

    Raises:
        TypeError: a mask that is not a Pattern. ValueError: a pattern for another number of heads, block below 1.

    Paper: Child et al. 2019, arXiv:1904.10509.

    >>> from tinyattn.ops.masks import window
    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> gathered_attention(x, x, x, mask=window(0, 0))
    array([[1.],
           [2.],
           [3.]])
    """
    if not isinstance(mask, Pattern):
        raise TypeError(f"mask: expected a Pattern, got {type(mask).__name__}")
    block, q_len, kv_len = whole("block", block, 1), q.shape[-2], k.shape[-2]
    scale = check_scale(scale, q.shape[-1])
    kinds = mask.blocks(q_len, kv_len, block, block)
    check_broadcast("mask", (*kinds.shape[:-2], q_len, kv_len), (*q.shape[:-1], kv_len))
    touched = np.any(kinds != EMPTY, axis=tuple(range(kinds.ndim - 2)))
    outs = [np.zeros((*q.shape[:-2], 0, v.shape[-1]), q.dtype)]
    for n, start in enumerate(range(0, q_len, block)):
        rows = q[..., start : start + block, :]
        keys = (np.flatnonzero(touched[n])[:, None] * block + np.arange(block)).reshape(-1)
        keys = keys[keys < kv_len]
        if not keys.size:
            outs.append(np.zeros((*rows.shape[:-1], v.shape[-1]), q.dtype))
            continue
        seen = mask.visible(np.arange(start, start + rows.shape[-2]) + (kv_len - q_len), keys)
        rows, near_k, near_v = blank_unseen(rows, k[..., keys, :], v[..., keys, :], seen)
        weights = softmax(scores_of(rows, near_k, scale=scale, visible=seen))
        outs.append(weighted_values(weights, near_v))
    return np.concatenate(outs, axis=-2)
