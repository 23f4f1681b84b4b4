"""BigBird: the exact kernel over the tiles of its blocks."""

from __future__ import annotations

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.constructors import first, random_blocks
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
    """
    size = whole("block", block, 1)
    chosen = near_blocks(size) | random_blocks(size, whole("random", random, 0), seed)
    is_causal = check_causal(causal)
    return attention(q, k, v, mask=chosen | (first(size) if is_causal else ends(size, k.shape[-2])), causal=is_causal, scale=scale)
