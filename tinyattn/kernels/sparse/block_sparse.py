"""Block-sparse attention: the exact kernel over the tiles that a table of blocks reaches."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.arguments import check_table
from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_mask
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def block_sparse_attention(q: Array, k: Array, v: Array, *, blocks: Array, q_block: int, kv_block: int,
                           mask: Array | Pattern | None = None, bias: Array | Bias | None = None, causal: bool = False,
                           window: Window | None = None, scale: float | None = None, softcap: float | None = None,
                           sinks: Array | None = None) -> Array:
    """Returns attention in which a block of queries sees the blocks of keys that a boolean table names; compiled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), blocks broadcastable to (..., heads,
    ceil(i / q_block), ceil(j / kv_block)) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.block_sparse_attention`.

    Paper: Child et al. 2019, arXiv:1904.10509.

    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> block_sparse_attention(x * 0, x * 0, x, blocks=np.array([[True, False], [False, True]]), q_block=2, kv_block=2)
    array([[1.5],
           [1.5],
           [3. ]])
    """
    q_block, kv_block = whole("q_block", q_block, 1), whole("kv_block", kv_block, 1)
    blocks = check_table(blocks, q, k, q_block, kv_block)
    full = (*q.shape[:-1], k.shape[-2])
    seen, mask = by_table(blocks, q_block, kv_block, full[-1] - full[-2]), check_mask(mask, full)
    if mask is not None:
        seen = seen & (mask if isinstance(mask, Pattern) else by_array(mask, full))
    return attention(q, k, v, mask=seen, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks)


def by_table(blocks: Array, q_block: int, kv_block: int, first: int) -> Pattern:
    """Returns the pattern of a table of blocks; `first` is the position of the first query."""
    sums = np.zeros((*blocks.shape[:-2], blocks.shape[-2] + 1, blocks.shape[-1] + 1), np.int64)
    sums[..., 1:, 1:] = blocks.cumsum(axis=-2).cumsum(axis=-1)

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        low, high, left, right = (i0 - first) // q_block, (i1 - first) // q_block + 1, j0 // kv_block, j1 // kv_block + 1
        count = sums[..., high, right] - sums[..., low, right] - sums[..., high, left] + sums[..., low, left]
        return count > 0, count == (high - low) * (right - left)

    return Pattern(lambda i, j: blocks[..., (i - first) // q_block, j // kv_block], corners=corners)


def by_array(mask: Array, full: tuple[int, ...]) -> Pattern:
    """Returns the pattern of a mask that broadcasts to (..., q_len, kv_len)."""
    pairs, first = np.broadcast_to(mask, np.broadcast_shapes(mask.shape, full[-2:])), full[-1] - full[-2]
    return Pattern(lambda i, j: pairs[..., i - first, j])
