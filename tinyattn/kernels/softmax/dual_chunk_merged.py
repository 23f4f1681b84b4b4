"""Dual chunk attention in the form of three merged parts, which is how the kernel computes it."""

from __future__ import annotations

from tinyattn.kernels.softmax.dual_chunk import dual_chunk_attention
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def dual_chunk_attention_merged(q: Array, k: Array, v: Array, *, chunk: int, local: int, base: float = 10000.0,
                                clamp: str = "paper", positions: Array | None = None, interleaved: bool = False,
                                scale: float | None = None) -> Array:
    """Returns dual chunk attention as three attentions, merged: the kernel of `dual_chunk_attention`.

    Shapes, options and errors are those of `tinyattn.definitions.dual_chunk_attention_merged`.

    Paper: An et al. 2024, arXiv:2402.17463.

    >>> import numpy as np
    >>> x = np.array([[1.0, 0.0], [3.0, 0.0]])
    >>> dual_chunk_attention_merged(x * 0, x, x, chunk=1, local=1)
    array([[1., 0.],
           [2., 0.]])
    """
    return dual_chunk_attention(q, k, v, chunk=chunk, local=local, base=base, clamp=clamp, positions=positions,
                                interleaved=interleaved, scale=scale)
