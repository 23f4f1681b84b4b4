"""Gathered attention: the exact kernel visits the tiles of a pattern that contain a visible pair, and no others."""

from __future__ import annotations

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def gathered_attention(q: Array, k: Array, v: Array, *, mask: Pattern, scale: float | None = None, block: int = 16) -> Array:
    """Returns `attention` with a pattern, computing only the tiles that contain a visible pair; compiled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.gathered_attention`; the kernel's tiles have a size of their own,
    so that `block` has no effect.

    Paper: Child et al. 2019, arXiv:1904.10509.

    >>> import numpy as np
    >>> from tinyattn.ops.masks import window
    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> gathered_attention(x, x, x, mask=window(0, 0))
    array([[1.],
           [2.],
           [3.]])
    """
    if not isinstance(mask, Pattern):
        raise TypeError(f"mask: expected a Pattern, got {type(mask).__name__}")
    whole("block", block, 1)
    return attention(q, k, v, mask=mask, scale=scale)
