"""The lightning indexer, tile by tile: no score of all pairs is held."""

from __future__ import annotations

from tinyattn.kernels.chosen.indexed import indexed_keys
from tinyattn.ops.checks import whole
from tinyattn.ops.gates import check_gate
from tinyattn.ops.options import check_causal
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,c),(j,c)->(i,j)", per_token={"weights": "(i)"}, shared=("k",))
def lightning_indexer(q: Array, k: Array, *, weights: Array, keep: int, causal: bool = True) -> Array:
    """Returns a mask of the `keep` keys that score highest for each query, by the weighed positive products of its index heads.

    Formula: score_ij = sum_h weights_hi relu(q_hi . k_j). Queries that see no more than `keep` keys are given all of them.

    Shapes, options and errors are those of `tinyattn.definitions.lightning_indexer`.

    Paper: DeepSeek-AI 2025, arXiv:2512.02556.

    >>> import numpy as np
    >>> q, k = np.ones((3, 1)), np.array([[1.0], [-1.0], [-2.0]])
    >>> lightning_indexer(q, k, weights=np.ones(3), keep=2)
    array([[ True, False, False],
           [ True,  True, False],
           [ True,  True, False]])
    """
    keep, weights = whole("keep", keep, 1), check_gate("weights", weights, q.shape[:-1], q.dtype)
    q, k, weights = (getattr(x, "value", x) for x in (q, k, weights))  # the choice has no gradient
    return indexed_keys(q, k, weights, keep, check_causal(causal))
