"""DeepSeek sparse attention (DSA): the choice of the indexer as the mask of the exact kernel."""

from __future__ import annotations

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.sparse.lightning_indexer import lightning_indexer
from tinyattn.ops.arguments import check_index
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"q_index": "(i,c)", "k_index": "(j,c)", "weights": "(i)"}, shared=("k_index",))
def deepseek_sparse_attention(q: Array, k: Array, v: Array, *, q_index: Array, k_index: Array, weights: Array, keep: int,
                              causal: bool = True, scale: float | None = None) -> Array:
    """Returns attention in which the heads of a query all read the same `keep` keys, those that `lightning_indexer` chooses.

    Formula: out_hi = softmax over j in T_i of (scale q_hi . k_j) v_j. The choice takes one byte per pair, for all heads together.

    Shapes, options and errors are those of `tinyattn.definitions.deepseek_sparse_attention`.

    Paper: DeepSeek-AI 2025, arXiv:2512.02556.

    >>> import numpy as np
    >>> q, k, v = np.zeros((1, 1)), np.array([[1.0], [3.0], [2.0]]), np.array([[1.0], [3.0], [5.0]])
    >>> deepseek_sparse_attention(q, k, v, q_index=np.ones((1, 1)), k_index=k, weights=np.ones(1), keep=2)
    array([[4.]])
    """
    q_index, k_index = check_index(q_index, k_index, q, k)
    chosen = lightning_indexer(q_index, k_index, weights=weights, keep=keep, causal=causal)
    # Said again, `causal` spares the kernel the tiles that the mask hides.
    return attention(q, k, v, mask=chosen, causal=causal, scale=scale)
