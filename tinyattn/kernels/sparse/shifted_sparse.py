"""Shifted sparse attention: the exact kernel over the tiles of each head's groups."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.ops.arguments import check_group
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.constructors import block_local, per_head
from tinyattn.ops.masks.constructors import causal as not_later
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.masks.published import shifted_blocks
from tinyattn.ops.options import check_causal
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def shifted_sparse_attention(q: Array, k: Array, v: Array, *, group: int, variant: str = "safe", causal: bool = True,
                             scale: float | None = None) -> Array:
    """Returns attention within groups of tokens, shifted by half a group in the second half of the heads; compiled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.shifted_sparse_attention`.

    Paper: Chen et al. 2023, arXiv:2309.12307.

    >>> x = np.array([[[1.0], [3.0]]] * 2)
    >>> shifted_sparse_attention(x * 0, x * 0, x, group=2)[:, :, 0]
    array([[1., 2.],
           [1., 3.]])
    """
    group, heads, kv_len = whole("group", group, 2), q.shape[-3], k.shape[-2]
    check_group(group, variant, q, k)
    causal = check_causal(causal)
    if not heads:
        return attention(q, k, v, scale=scale)
    turned = kv_len if variant == "roll" else None
    # In a text that was rolled, causality holds for the rolled places, and is part of the pattern.
    return attention(q, k, v, mask=groups(group, heads, causal, turned), causal=causal and turned is None, scale=scale)


@lru_cache(maxsize=16)
def groups(group: int, heads: int, causal: bool, turned: int | None) -> Pattern:
    """Returns the groups of each head; in the second half of the heads they are shifted, or a text of this length is rolled."""
    own = block_local(group)
    if turned is None:
        other = shifted_blocks(group, group // 2)
    else:
        own = own & not_later() if causal else own
        other = rolled(own, group // 2, turned)
    return Constant(per_head([own] * (heads // 2) + [other] * (heads - heads // 2)))


def rolled(pattern: Pattern, shift: int, length: int) -> Pattern:
    """Returns a pattern on the places that tokens have after a text of this length was rolled by `shift`."""
    def place(x: Array) -> Array:
        return (x - shift) % max(length, 1)

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        some, every = pattern.corners(place(i0), place(i1), place(j0), place(j1))
        # Tiles that the roll cuts apart are not decided as a whole.
        whole_tile = (place(i0) <= place(i1)) & (place(j0) <= place(j1)) & (i1 - i0 < length) & (j1 - j0 < length)
        return np.where(whole_tile, some, True), np.where(whole_tile, every, False)

    return Pattern(lambda i, j: pattern.see(place(i), place(j)), corners=corners)
