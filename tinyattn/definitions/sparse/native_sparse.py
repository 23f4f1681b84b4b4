"""Native sparse attention: a query reads blocks' means, the blocks that these chose, and a window."""

from __future__ import annotations

import numpy as np

from tinyattn.definitions.softmax.dot_product import attention, attention_weights
from tinyattn.ops.heads import split_group
from tinyattn.ops.masks.constructors import sliding_window, whole
from tinyattn.ops.signature import floating, shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", states=("gates",))
def native_sparse_attention(q: Array, k: Array, v: Array, *, gates: Array, block: int, selected: int, window: int,
                            scale: float | None = None) -> Array:
    """Returns a gated sum of three attentions: to the means of blocks, to the tokens of selected blocks, to a window.

    Formula: out = g_0 attention(q, mean K_b, mean V_b) + g_1 attention(q, k, v over selected blocks) + g_2 attention(q, k, v
    over the last `window`). A mean is seen once its block is past. A block's importance is its weight in the first
    attention, added up over the heads of a group; the query's own block, the first and the previous one are always selected
    and counted. Each part is normalised by itself: the sum is no merge. What was selected is a constant to the gradient.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), gates (..., heads, i, 3), as they are used
    -> (..., heads, i, e). Causal, q_len <= kv_len.

    Args:
        q: queries.
        k: keys.
        v: values.
        gates: compressed, selected, window.
        block: tokens of a block.
        selected: blocks that a query reads token by token.
        window: last tokens, the query's own included.
        scale: None is d ** -0.5.

    Raises:
        TypeError, ValueError: gates of another kind or shape, a size below 1, q_len above kv_len; otherwise as `attention`.

    Paper: Yuan et al. 2025, arXiv:2502.11089.

    >>> x = np.arange(4.0)[:, None]
    >>> native_sparse_attention(x * 0, x * 0, x, gates=np.ones((4, 3)), block=2, selected=1, window=1)[:, 0]
    array([0. , 2. , 4.5, 7. ])
    """
    block, selected, window = whole("block", block, 1), whole("selected", selected, 1), whole("window", window, 1)
    gates = floating("gates", gates)
    if gates.shape != (*q.shape[:-1], 3):
        raise ValueError(f"gates: expected shape {(*q.shape[:-1], 3)}, got shape {gates.shape}")
    gates = gates.astype(q.dtype)
    own, past = places(q, k, block)
    complete = k.shape[-2] // block
    mean_k, mean_v = (x[..., : complete * block, :].reshape(*x.shape[:-2], complete, block, x.shape[-1]).mean(axis=-2) for x in (k, v))
    is_past = np.arange(complete) < past[:, None]
    compressed = attention(q, mean_k, mean_v, mask=is_past, scale=scale)
    weights = attention_weights(q, mean_k, mask=is_past, scale=scale)
    importance = np.sum(split_group(weights, k.shape[-3]), axis=-3)  # one selection for all heads of a group
    chosen = select(importance, own, selected, -(-k.shape[-2] // block))
    tokens = np.repeat(np.repeat(chosen, q.shape[-3] // k.shape[-3], axis=-3), block, axis=-1)[..., : k.shape[-2]]
    fine = attention(q, k, v, mask=tokens, causal=True, scale=scale)
    near = attention(q, k, v, mask=sliding_window(window), scale=scale)
    return gates[..., :1] * compressed + gates[..., 1:2] * fine + gates[..., 2:] * near


def places(q: Array, k: Array, block: int) -> tuple[Array, Array]:
    """Returns for each query the block that it stands in, and how many blocks are wholly past or end with it."""
    q_len, kv_len = q.shape[-2], k.shape[-2]
    if q_len > kv_len:
        raise ValueError(f"q: expected q_len <= kv_len, got q {q.shape} and k {k.shape}")
    positions = np.arange(kv_len - q_len, kv_len)
    return positions // block, (positions + 1) // block


def select(importance: Array, own: Array, count: int, blocks: int) -> Array:
    """Returns which blocks each query reads: its own, the first, the previous, then by importance, the earlier first."""
    number = np.arange(blocks)
    forced = np.where(number == own[:, None], 3, np.where(number == 0, 2, np.where(number == own[:, None] - 1, 1, 0)))
    rank = np.argsort(np.argsort(-importance, axis=-1, kind="stable"), axis=-1)
    last = np.full((*rank.shape[:-1], blocks - rank.shape[-1]), blocks)  # a block that is not full yet is only ever one's own
    order = np.argsort(np.where(forced > 0, -forced, np.concatenate((rank, last), axis=-1)), axis=-1, kind="stable")
    return (np.argsort(order, axis=-1) < count) & (number <= own[:, None])
