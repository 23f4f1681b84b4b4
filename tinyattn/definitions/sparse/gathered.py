"""Attention that computes only blocks in which somebody sees somebody: a pattern's other form, of linear cost where it is local."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.masks.pattern import EMPTY, Pattern
from tinyattn.ops.options import check_broadcast, check_scale
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def gathered_attention(q: Array, k: Array, v: Array, *, mask: Pattern, scale: float | None = None, block: int = 16) -> Array:
    """Returns `attention` with a pattern, of which only the blocks that are not empty are computed.

    Formula: for each block of queries, the keys J of its blocks that are not empty: out = softmax(scale q k_J^T) v_J,
    over the visible pairs.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: a Pattern.
        scale: None is d ** -0.5.
        block: queries and keys of a block.

    Raises:
        TypeError: a mask that is no Pattern. ValueError: a pattern of other heads, block below 1; otherwise as `attention`.

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
    block, scale = whole("block", block, 1), check_scale(scale, q.shape[-1])
    heads, q_len, kv_heads, kv_len = q.shape[-3], q.shape[-2], k.shape[-3], k.shape[-2]
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
        seen = np.broadcast_to(seen, (*rows.shape[:-1], keys.size))
        # What no query of a head sees may be NaN, and 0 * NaN is NaN.
        used = np.any(fold_group(seen, kv_heads), axis=-2)[..., None]
        near_k, near_v = (np.where(used, x[..., keys, :], 0.0) for x in (k, v))
        rows = np.where(np.any(seen, axis=-1, keepdims=True), rows * scale, 0.0)
        scores = np.where(seen, unfold_group(fold_group(rows, kv_heads) @ near_k.mT, heads), -np.inf)
        # Whole numbers, so that the shift is a constant to the gradient.
        top = np.floor(np.max(scores, axis=-1, keepdims=True))
        mass = np.exp(scores - np.where(top == -np.inf, 0.0, top))
        total = np.sum(mass, axis=-1, keepdims=True)
        read = unfold_group(fold_group(mass, kv_heads) @ near_v, heads)
        outs.append(read / np.where(total == 0, 1.0, total))
    return np.concatenate(outs, axis=-2)
