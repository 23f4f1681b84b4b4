"""Block-sparse attention: a table decides which block of queries sees which block of keys."""

from __future__ import annotations

import numpy as np

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.arguments import check_table
from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, visible_keys
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def block_sparse_attention(q: Array, k: Array, v: Array, *, blocks: Array, q_block: int, kv_block: int,
                           mask: Array | Pattern | None = None, bias: Array | Bias | None = None, causal: bool = False,
                           window: Window | None = None, scale: float | None = None, softcap: float | None = None,
                           sinks: Array | None = None) -> Array:
    """Returns attention in which a boolean table decides which block of keys each block of queries sees.

    Formula: out = softmax(scale q k^T) v over the pairs for which blocks[i // q_block, j // kv_block] is True.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), blocks broadcastable to (..., heads,
    ceil(i / q_block), ceil(j / kv_block)) -> (..., heads, i, e).

    Options: as `attention`; mask, causal and window hide further pairs.

    Raises:
        TypeError: blocks that are not boolean. ValueError: blocks of another shape, a block size below 1.

    Paper: Child et al. 2019, arXiv:1904.10509.

    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> block_sparse_attention(x * 0, x * 0, x, blocks=np.array([[True, False], [False, True]]), q_block=2, kv_block=2)
    array([[1.5],
           [1.5],
           [3. ]])
    """
    q_block, kv_block = whole("q_block", q_block, 1), whole("kv_block", kv_block, 1)
    blocks, q_len, kv_len = check_table(blocks, q, k, q_block, kv_block), q.shape[-2], k.shape[-2]
    seen = blocks[..., np.arange(q_len)[:, None] // q_block, np.arange(kv_len) // kv_block]
    inside = visible_keys(mask, False, None, (*q.shape[:-1], kv_len))
    mask = seen if inside is None else seen & inside
    return attention(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks)
