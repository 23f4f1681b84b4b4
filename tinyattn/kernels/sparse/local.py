"""Local attention: a band of the exact kernel, or the tiles of each head's windows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.ops.arguments import check_widths
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.constructors import block_local, per_head
from tinyattn.ops.masks.constructors import window as near
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.masks.published import look_back
from tinyattn.ops.options import check_causal
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def multi_head_local_attention(q: Array, k: Array, v: Array, *, window: int | Sequence[int], mode: str = "sliding",
                               causal: bool = True, bias: Array | Bias | None = None, scale: float | None = None,
                               softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention in which head h sees window[h] tokens, its own included; only tiles within a window are computed.

    Formula: out_h = softmax(scale q_h k_h^T) v_h over the keys j that query i sees:
    sliding: |i - j| < W; block: i // W = j // W; look_back: the block of i and the one before it; and j <= i if causal.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.multi_head_local_attention`.

    Paper: Luong et al. 2015, arXiv:1508.04025; Beltagy et al. 2020, arXiv:2004.05150.

    >>> import numpy as np
    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> multi_head_local_attention(x, x, x, window=1)
    array([[1.],
           [2.],
           [3.]])
    """
    causal, widths = check_causal(causal), check_widths(window, mode, q.shape[-3])
    if mode == "sliding" and isinstance(widths, int):
        return attention(q, k, v, bias=bias, causal=causal, window=(widths - 1, widths - 1), scale=scale, softcap=softcap, sinks=sinks)
    return attention(q, k, v, mask=windows(widths, mode), bias=bias, causal=causal, scale=scale, softcap=softcap, sinks=sinks)


@lru_cache(maxsize=16)
def windows(widths: int | tuple[int, ...], mode: str) -> Pattern:
    """Returns the pattern of the windows of all heads, or of each, later keys included."""
    return Constant(one_head(widths, mode) if isinstance(widths, int) else per_head([one_head(width, mode) for width in widths]))


def one_head(width: int, mode: str) -> Pattern:
    """Returns the pattern of one window."""
    if mode == "sliding":
        return near(width - 1, width - 1)
    return block_local(width) if mode == "block" else look_back(width)
