"""The lightning indexer of DeepSeek V3.2: a few small heads choose the keys that all heads of an attention read."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.gates import check_gate
from tinyattn.ops.largest import largest
from tinyattn.ops.options import visible_keys
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,c),(j,c)->(i,j)", per_token={"weights": "(i)"}, shared=("k",))
def lightning_indexer(q: Array, k: Array, *, weights: Array, keep: int, causal: bool = True) -> Array:
    """Returns a mask of the `keep` keys that score highest for each query, by the weighed positive products of its index heads.

    Formula: score_ij = sum_h weights_hi relu(q_hi . k_j); True for the `keep` largest of the keys that i sees. Of equal scores
    the earlier key is kept: where no product is positive, all scores are 0. The scores are not scaled: a positive factor would
    not change the choice. The mask has no gradient.

    Shapes: q (..., index heads, i, c), k (..., j, c), weights (..., index heads, i) -> (..., 1, i, j), for `mask=`.

    Raises:
        TypeError, ValueError: keep below 1; weights that are not finite; axes that do not agree.

    Paper: DeepSeek-AI 2025, arXiv:2512.02556.

    >>> q, k = np.ones((3, 1)), np.array([[1.0], [-1.0], [-2.0]])
    >>> lightning_indexer(q, k, weights=np.ones(3), keep=2)
    array([[ True, False, False],
           [ True,  True, False],
           [ True,  True, False]])
    """
    keep, weights = whole("keep", keep, 1), check_gate("weights", weights, q.shape[:-1], q.dtype)
    products = np.maximum(q @ k.mT, 0)  # (..., index heads, i, j)
    scores = np.sum(weights[..., None] * products, axis=-3, keepdims=True)
    visible = visible_keys(None, causal, None, scores.shape)
    return largest(scores, keep) if visible is None else visible & largest(np.where(visible, scores, -np.inf), keep)
