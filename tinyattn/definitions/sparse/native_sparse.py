"""Native sparse attention: a query reads the means of all blocks, the tokens of the blocks that it selects by them, and a window."""

from __future__ import annotations

import numpy as np

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.definitions.softmax.weights import attention_weights
from tinyattn.ops.checks import whole
from tinyattn.ops.gates import check_gate
from tinyattn.ops.heads import split_group
from tinyattn.ops.largest import largest
from tinyattn.ops.masks.constructors import sliding_window
from tinyattn.ops.options import first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"gates": "(i,3)"})
def native_sparse_attention(q: Array, k: Array, v: Array, *, gates: Array, block: int, selected: int, window: int,
                            scale: float | None = None) -> Array:
    """Returns a gated sum of three attentions: to the means of blocks, to the tokens of selected blocks, to a window.

    Formula: out = g_0 attention(q, mean K_b, mean V_b) + g_1 attention(q, k, v over selected blocks) + g_2 attention(q, k, v
    over the last `window`). A query sees a mean once its block is complete. A block's importance is its weight in
    the first attention, summed over the heads of a group. The query's own block, the first and the previous one are always
    among the selected ones. Each attention has its own softmax. No gradient flows through the selection.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), gates (..., heads, i, 3), used as they
    are -> (..., heads, i, e). Causal; q_len <= kv_len.

    Args:
        q: queries.
        k: keys.
        v: values.
        gates: factors of the means, the selected blocks and the window, in this order.
        block: tokens per block.
        selected: blocks that a query reads token by token.
        window: last tokens, the query's own included.
        scale: None is d ** -0.5.

    Raises:
        TypeError, ValueError: gates that are not floating or of another shape, a size below 1, q_len above kv_len.

    Paper: Yuan et al. 2025, arXiv:2502.11089.

    >>> x = np.arange(4.0)[:, None]
    >>> native_sparse_attention(x * 0, x * 0, x, gates=np.ones((4, 3)), block=2, selected=1, window=1)[:, 0]
    array([0. , 2. , 4.5, 7. ])
    """
    block, selected, window = whole("block", block, 1), whole("selected", selected, 1), whole("window", window, 1)
    gates = check_gate("gates", gates, (*q.shape[:-1], 3), q.dtype)
    kv_heads, kv_len = k.shape[-3:-1]
    positions = np.arange(first_position(q, k), kv_len)[:, None]
    complete = kv_len // block
    mean_k, mean_v = (x[..., : complete * block, :].reshape(*x.shape[:-2], complete, block, x.shape[-1]).mean(axis=-2) for x in (k, v))
    is_past = np.arange(complete) < (positions + 1) // block
    compressed = attention(q, mean_k, mean_v, mask=is_past, scale=scale)
    weights = attention_weights(q, mean_k, mask=is_past, scale=scale)
    chosen = select(split_group(weights, kv_heads), positions // block, selected, -(-kv_len // block))
    tokens = np.repeat(np.repeat(chosen, q.shape[-3] // max(kv_heads, 1), axis=-3), block, axis=-1)[..., :kv_len]
    fine = attention(q, k, v, mask=tokens, causal=True, scale=scale)
    near = attention(q, k, v, mask=sliding_window(window), scale=scale)
    return gates[..., :1] * compressed + gates[..., 1:2] * fine + gates[..., 2:] * near


def select(weights: Array, own: Array, count: int, blocks: int) -> Array:
    """Returns which blocks each query reads: its own, the first, the previous, then the most important; of equals the earlier.

    weights (..., kv_heads, groups, i, means) -> (..., kv_heads, i, blocks): one selection for all heads of a group.
    """
    importance, number = np.sum(weights, axis=-3), np.arange(blocks)
    # An incomplete last block has no mean, and can only be a query's own.
    unknown = np.zeros((*importance.shape[:-1], blocks - importance.shape[-1]), importance.dtype)
    most = weights.shape[-3] + 1  # above every importance, as the weights of one head sum to at most 1
    # NaN counts as the largest importance, but not above the blocks that are always selected.
    worth = np.concatenate((np.where(np.isnan(importance), most - 0.5, importance), unknown), axis=-1)
    worth = np.where(number == own - 1, most, worth)
    worth = np.where(number == 0, most + 1, worth)
    worth = np.where(number == own, most + 2, worth)
    return largest(worth, count) & (number <= own)
