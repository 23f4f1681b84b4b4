"""BigBird: the exact kernel over the tiles of its blocks."""

from __future__ import annotations

from functools import lru_cache

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.constructors import first, random_blocks
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.masks.published import ends, near_blocks
from tinyattn.ops.options import check_causal
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def bigbird_attention(q: Array, k: Array, v: Array, *, block: int, random: int, seed: int, causal: bool = False,
                      scale: float | None = None) -> Array:
    """Returns attention of each block of queries to its neighbours, the first and last block, and some at random; compiled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.bigbird_attention`.

    Paper: Zaheer et al. 2020, arXiv:2007.14062.

    >>> import numpy as np
    >>> x = np.arange(4.0)[:, None]
    >>> bigbird_attention(x * 0, x * 0, x, block=1, random=0, seed=0, causal=True)[:, 0].round(2)
    array([0.  , 0.5 , 1.  , 1.67])
    """
    size, count, is_causal = whole("block", block, 1), whole("random", random, 0), check_causal(causal)
    mask = blocks(size, count, whole("seed", seed, 0, None), None if is_causal else k.shape[-2])
    return attention(q, k, v, mask=mask, causal=is_causal, scale=scale)


@lru_cache(maxsize=16)
def blocks(size: int, count: int, seed: int, length: int | None) -> Pattern:
    """Returns who sees whom; with a length both ends see all and are seen by all, without one the first block is seen by all."""
    chosen = near_blocks(size) | random_blocks(size, count, seed)
    return Constant(chosen | (first(size) if length is None else ends(size, length)))
