"""DeepSeek sparse attention (DSA): the choice of the indexer as the mask of the exact kernel."""

from __future__ import annotations

import math

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.sparse.by_index import Index, Part, attention_by_index
from tinyattn.kernels.sparse.lightning_indexer import lightning_indexer
from tinyattn.ops.arguments import check_index
from tinyattn.ops.checks import whole
from tinyattn.ops.gates import check_gate
from tinyattn.ops.options import check_causal, check_scale
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

# Bytes of a mask, one per pair, above which the queries are taken in parts; and queries of a part, at least.
MOST_BYTES, LEAST_ROWS = 1 << 26, 64


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"q_index": "(i,c)", "k_index": "(j,c)", "weights": "(i)"}, shared=("k_index",))
def deepseek_sparse_attention(q: Array, k: Array, v: Array, *, q_index: Array, k_index: Array, weights: Array, keep: int,
                              causal: bool = True, scale: float | None = None) -> Array:
    """Returns attention in which the heads of a query all read the same `keep` keys, those that `lightning_indexer` chooses.

    Formula: out_hi = softmax over j in T_i of (scale q_hi . k_j) v_j. The choice takes one byte per pair, for all heads together.
    Where that would be more than 64 MiB, the queries are taken in parts, whose choice is made again for the backward.

    Shapes, options and errors are those of `tinyattn.definitions.deepseek_sparse_attention`.

    Paper: DeepSeek-AI 2025, arXiv:2512.02556.

    >>> import numpy as np
    >>> q, k, v = np.zeros((1, 1)), np.array([[1.0], [3.0], [2.0]]), np.array([[1.0], [3.0], [5.0]])
    >>> deepseek_sparse_attention(q, k, v, q_index=np.ones((1, 1)), k_index=k, weights=np.ones(1), keep=2)
    array([[4.]])
    """
    q_index, k_index = check_index(q_index, k_index, q, k)
    row, q_len, kv_len = math.prod(q.shape[:-3]) * k.shape[-2], q.shape[-2], k.shape[-2]
    if q_len * row <= MOST_BYTES:
        chosen = lightning_indexer(q_index, k_index, weights=weights, keep=keep, causal=causal)
        # Given beside the mask, `causal` lets the kernel skip the tiles that the mask hides.
        return attention(q, k, v, mask=chosen, causal=causal, scale=scale)
    keep, causal, scale = whole("keep", keep, 1), check_causal(causal), check_scale(scale, q.shape[-1])
    weights = check_gate("weights", weights, q_index.shape[:-1], q_index.dtype)
    q_index, k_index, weights = (getattr(x, "value", x) for x in (q_index, k_index, weights))  # the choice has no gradient
    step, parts = max(LEAST_ROWS, MOST_BYTES // row), []
    for start in range(0, q_len, step):
        # Keys behind the part's last query are left out, so that it stands where the last key does.
        stop = min(start + step, q_len)
        parts.append(Part(slice(start, stop), slice(max(0, kv_len - q_len + stop) if causal else kv_len)))
    return attention_by_index(q, k, v, Index(q_index, k_index[..., None, :, :], weights, keep, causal), scale, parts)
