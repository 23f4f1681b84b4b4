"""BigBird: each block attends to neighbouring blocks, to the first and the last block, and to a few random blocks."""

from __future__ import annotations

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.constructors import causal as not_later
from tinyattn.ops.masks.constructors import first, random_blocks
from tinyattn.ops.masks.published import ends, near_blocks
from tinyattn.ops.options import check_causal
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def bigbird_attention(q: Array, k: Array, v: Array, *, block: int, random: int, seed: int, causal: bool = False,
                      scale: float | None = None) -> Array:
    """Returns attention of each block of queries to its neighbours, to the first and the last block, and to random blocks.

    Formula: out = softmax(scale q k^T) v, where block I of queries sees block J of keys if |I - J| <= 1, if I or J is the first
    or the last block, or if J <= I is one of the `random` blocks drawn from (seed, I). Causal: also j <= i, and only the first
    block is global, since the last one changes with the length. A block chosen twice counts once.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Raises:
        TypeError, ValueError: block below 1, random or seed below 0; otherwise as `attention`.

    Paper: Zaheer et al. 2020, arXiv:2007.14062.

    >>> import numpy as np
    >>> x = np.arange(4.0)[:, None]
    >>> bigbird_attention(x * 0, x * 0, x, block=1, random=0, seed=0, causal=True)[:, 0].round(2)
    array([0.  , 0.5 , 1.  , 1.67])
    """
    size = whole("block", block, 1)
    chosen = near_blocks(size) | random_blocks(size, whole("random", random, 0), seed)
    if check_causal(causal):
        return attention(q, k, v, mask=not_later() & (chosen | first(size)), scale=scale)
    return attention(q, k, v, mask=chosen | ends(size, k.shape[-2]), scale=scale)
