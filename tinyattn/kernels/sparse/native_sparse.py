"""Native sparse attention: block means and a window by the exact kernel, selected blocks by the rows that chose them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tinyattn.kernels.chosen.choose import Choice
from tinyattn.kernels.chosen.primitive import chosen_attention
from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.kernels.tiles.rows import blended
from tinyattn.ops.checks import whole
from tinyattn.ops.gates import check_gate
from tinyattn.ops.heads import split_group
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.scores import scores_of
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"gates": "(i,3)"})
def native_sparse_attention(q: Array, k: Array, v: Array, *, gates: Array, block: int, selected: int, window: int,
                            scale: float | None = None) -> Array:
    """Returns a gated sum of three attentions: to the means of blocks, to the tokens of selected blocks, to a window; compiled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), gates (..., heads, i, 3), used as they
    are -> (..., heads, i, e). Causal; q_len <= kv_len.

    Options and errors are those of `tinyattn.definitions.native_sparse_attention`.

    Paper: Yuan et al. 2025, arXiv:2502.11089.

    >>> x = np.arange(4.0)[:, None]
    >>> native_sparse_attention(x * 0, x * 0, x, gates=np.ones((4, 3)), block=2, selected=1, window=1)[:, 0]
    array([0. , 2. , 4.5, 7. ])
    """
    block, selected, window = whole("block", block, 1), whole("selected", selected, 1), whole("window", window, 1)
    gates = check_gate("gates", gates, (*q.shape[:-1], 3), q.dtype)
    first_position(q, k)
    kv_len, factor = k.shape[-2], check_scale(scale, q.shape[-1])
    complete = kv_len // block
    mean_k, mean_v = (x[..., : complete * block, :].reshape(*x.shape[:-2], complete, block, x.shape[-1]).mean(axis=-2) for x in (k, v))
    compressed = attention(q, mean_k, mean_v, mask=completed(block, kv_len), scale=scale)
    count = min(selected, -(-kv_len // block)) or 1
    fine = chosen_attention(q, k, v, Choice(block, count, True, factor, importance))
    near = attention(q, k, v, causal=True, window=(window - 1, 0), scale=scale)
    return blended(gates, compressed, fine, near)


def importance(q: Array, means: Array, positions: Array, choice: Choice) -> Array:
    """Returns the weight of each block's mean in the attention of each query to the means, summed over the heads of a group."""
    is_past = np.arange(means.shape[-2]) < (positions[:, None] + 1) // choice.block
    weights = softmax(scores_of(q, means, scale=choice.scale, visible=is_past))
    total: Array = split_group(weights, means.shape[-3]).sum(axis=-3)
    return total


@lru_cache(maxsize=16)
def completed(block: int, length: int) -> Pattern:
    """Returns whether a block of a text is complete at the query's position, which is counted back from the last block."""
    after = length - length // block + 1

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        return (j0 + 1) * block <= i1 + after, (j1 + 1) * block <= i0 + after

    return Constant(Pattern(lambda i, j: (j + 1) * block <= i + after, corners=corners))
