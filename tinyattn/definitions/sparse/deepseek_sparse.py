"""DeepSeek sparse attention (DSA): attention of all heads to the keys that a lightning indexer chose for each query."""

from __future__ import annotations

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.definitions.sparse.lightning_indexer import lightning_indexer
from tinyattn.ops.arguments import check_index
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"q_index": "(i,c)", "k_index": "(j,c)", "weights": "(i)"}, shared=("k_index",))
def deepseek_sparse_attention(q: Array, k: Array, v: Array, *, q_index: Array, k_index: Array, weights: Array, keep: int,
                              causal: bool = True, scale: float | None = None) -> Array:
    """Returns attention in which the heads of a query all read the same `keep` keys, those that `lightning_indexer` chooses.

    Formula: out_hi = softmax over j in T_i of (scale q_hi . k_j) v_j, T_i the `keep` keys that i sees with the largest
    sum_n weights_ni relu(q_index_ni . k_index_j). No gradient flows through the choice: an indexer learns by a loss of its own.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), q_index (..., index heads, i, c), k_index
    (..., j, c), weights (..., index heads, i) -> (..., heads, i, e).

    Raises:
        TypeError, ValueError: as `lightning_indexer` and `attention`.

    Paper: DeepSeek-AI 2025, arXiv:2512.02556.

    >>> import numpy as np
    >>> q, k, v = np.zeros((1, 1)), np.array([[1.0], [3.0], [2.0]]), np.array([[1.0], [3.0], [5.0]])
    >>> deepseek_sparse_attention(q, k, v, q_index=np.ones((1, 1)), k_index=k, weights=np.ones(1), keep=2)
    array([[4.]])
    """
    q_index, k_index = check_index(q_index, k_index, q, k)
    chosen = lightning_indexer(q_index, k_index, weights=weights, keep=keep, causal=causal)
    return attention(q, k, v, mask=chosen, scale=scale)
