"""MoBA, mixture of block attention: each query chooses past blocks by the means of their keys."""

from __future__ import annotations

import numpy as np

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.checks import whole
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.largest import largest
from tinyattn.ops.options import first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def block_mixture_attention(q: Array, k: Array, v: Array, *, block: int, keep: int, scale: float | None = None) -> Array:
    """Returns causal attention to the query's own block and to the past blocks whose mean key scores highest.

    Formula: gate_ib = q_i . mean_{j in b} k_j over past blocks b; out = softmax(scale q k^T) v over j <= i in the query's own
    block or in one of the keep - 1 past blocks with the largest gates; of equal gates the earlier block is chosen. One softmax
    runs over all chosen tokens; no gradient flows through the choice.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e); q_len <= kv_len.

    Raises:
        TypeError, ValueError: block or keep below 1, q_len above kv_len; otherwise as `attention`.

    Paper: Lu et al. 2025, arXiv:2502.13189.

    >>> k = np.array([[1.0], [1.0], [5.0], [5.0], [0.0], [0.0]])
    >>> block_mixture_attention(np.ones((1, 1)), k, k, block=2, keep=2, scale=0.0)
    array([[2.5]])
    """
    block, keep = whole("block", block, 1), whole("keep", keep, 1)
    kv_len = k.shape[-2]
    own = np.arange(first_position(q, k), kv_len)[:, None] // block
    blocks, complete = -(-kv_len // block), kv_len // block
    means = k[..., : complete * block, :].reshape(*k.shape[:-2], complete, block, k.shape[-1]).mean(axis=-2)
    gate = unfold_group(fold_group(q, k.shape[-3]) @ means.mT, q.shape[-3])
    past = np.arange(complete) < own
    picked = past & largest(np.where(past, gate, -np.inf), keep - 1)
    short = np.zeros((*picked.shape[:-1], blocks - complete), bool)  # an incomplete last block can only be a query's own
    chosen = np.concatenate((picked, short), axis=-1) | (np.arange(blocks) == own)
    return attention(q, k, v, mask=np.repeat(chosen, block, axis=-1)[..., :kv_len], causal=True, scale=scale)
