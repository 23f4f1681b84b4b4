"""MHLA, multi-head local attention: each head has its own window."""

from __future__ import annotations

from collections.abc import Sequence

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.arguments import check_widths
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.constructors import block_local, causal, per_head, sliding_window, window
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.masks.published import look_back
from tinyattn.ops.options import check_causal
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def multi_head_local_attention(q: Array, k: Array, v: Array, *, window: int | Sequence[int], mode: str = "sliding",
                               causal: bool = True, bias: Array | Bias | None = None, scale: float | None = None,
                               softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention in which a query of head h sees the window[h] tokens nearest to it, its own included.

    Formula: out_h = softmax(scale q_h k_h^T) v_h over the keys j that query i sees:
    sliding: |i - j| < W; block: i // W = j // W; look_back: also the block before; and in each of them j <= i if causal.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options: window counts tokens, the query's own included: one number, or one per head. mode is "sliding", "block" or
    "look_back". The other options are those of `attention`.

    Raises:
        TypeError, ValueError: a window below 1, windows for another number of heads, an unknown mode; otherwise as `attention`.

    Paper: Luong et al. 2015, arXiv:1508.04025; Beltagy et al. 2020, arXiv:2004.05150.

    >>> import numpy as np
    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> multi_head_local_attention(x, x, x, window=1)
    array([[1.],
           [2.],
           [3.]])
    """
    seen = local(window, mode, check_causal(causal), q.shape[-3])
    return attention(q, k, v, mask=seen, bias=bias, scale=scale, softcap=softcap, sinks=sinks)


def local(width: int | Sequence[int], mode: str, is_causal: bool, heads: int) -> Pattern:
    """Returns the pattern of one window for all heads, or of one window per head."""
    widths = check_widths(width, mode, heads)
    return one_head(widths, mode, is_causal) if isinstance(widths, int) else per_head([one_head(w, mode, is_causal) for w in widths])


def one_head(width: int, mode: str, is_causal: bool) -> Pattern:
    """Returns the pattern of one window."""
    if mode == "sliding":
        near = sliding_window(width)
        return near if is_causal else window(width - 1, width - 1)
    blocks = block_local(width) if mode == "block" else look_back(width)
    return causal() & blocks if is_causal else blocks
