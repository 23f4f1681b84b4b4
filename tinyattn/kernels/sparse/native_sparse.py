"""Native sparse attention: block means, selected blocks and a window, each by the rows that read it."""

from __future__ import annotations

import numpy as np

from tinyattn.kernels.chosen.branches import branched_attention
from tinyattn.kernels.chosen.choose import Choice
from tinyattn.ops.checks import whole
from tinyattn.ops.gates import check_gate
from tinyattn.ops.heads import split_group
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
    count = min(selected, -(-k.shape[-2] // block)) or 1
    return branched_attention(q, k, v, gates, Choice(block, count, True, check_scale(scale, q.shape[-1]), importance), window)


def importance(q: Array, means: Array, positions: Array, choice: Choice) -> Array:
    """Returns the weight of each block's mean in the attention of each query to the means, summed over the heads of a group."""
    is_past = np.arange(means.shape[-2]) < (positions[:, None] + 1) // choice.block
    weights = softmax(scores_of(q, means, scale=choice.scale, visible=is_past))
    total: Array = split_group(weights, means.shape[-3]).sum(axis=-3)
    return total
