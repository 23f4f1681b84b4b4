"""MoBA, mixture of block attention: the rows that chose a block of keys are computed together."""

from __future__ import annotations

from tinyattn.kernels.chosen.choose import Choice
from tinyattn.kernels.chosen.primitive import chosen_attention
from tinyattn.ops.checks import whole
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def block_mixture_attention(q: Array, k: Array, v: Array, *, block: int, keep: int, scale: float | None = None) -> Array:
    """Returns causal attention to the query's own block and to the past blocks whose mean key scores highest; compiled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e); q_len <= kv_len.

    Options and errors are those of `tinyattn.definitions.block_mixture_attention`.

    Paper: Lu et al. 2025, arXiv:2502.13189.

    >>> import numpy as np
    >>> k = np.array([[1.0], [1.0], [5.0], [5.0], [0.0], [0.0]])
    >>> block_mixture_attention(np.ones((1, 1)), k, k, block=2, keep=2, scale=0.0)
    array([[2.5]])
    """
    block, keep = whole("block", block, 1), whole("keep", keep, 1)
    first_position(q, k)
    # No query can read more blocks than there are.
    count = min(keep, -(-k.shape[-2] // block)) or 1
    return chosen_attention(q, k, v, Choice(block, count, False, check_scale(scale, q.shape[-1]), gates))


def gates(q: Array, means: Array, _positions: Array, _choice: Choice) -> Array:
    """Returns the product of each query with the mean of each block."""
    products: Array = unfold_group(fold_group(q, means.shape[-3]) @ means.mT, q.shape[-3])
    return products
