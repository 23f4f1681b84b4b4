"""Streaming attention is what the exact kernel computes: one tile of keys at a time, with running sums."""

from __future__ import annotations

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.score_rule import Score
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def streaming_attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                        bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                        scale: float | None = None, softcap: float | None = None,
                        sinks: Array | None = None, score: Score | None = None, block: int = 128) -> Array:
    """Returns attention, holding the scores of one tile of keys at a time; compiled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.streaming_attention`; the kernel's tiles have a size of their own,
    so that `block` has no effect.

    Paper: Milakov and Gimelshein 2018, arXiv:1805.02867; Rabe and Staats 2021, arXiv:2112.05682.

    >>> import numpy as np
    >>> q, k = np.zeros((1, 2)), np.eye(2)
    >>> streaming_attention(q, k, np.array([[1.0], [3.0]]), block=1)
    array([[2.]])
    """
    whole("block", block, 1)
    return attention(q, k, v, mask=mask, bias=bias, causal=causal, window=window, scale=scale, softcap=softcap, sinks=sinks,
                     score=score)
