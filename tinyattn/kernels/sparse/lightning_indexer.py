"""The lightning indexer, a block of queries at a time: no score of all pairs is held, and a head is added after the other."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.gates import check_gate
from tinyattn.ops.largest import largest
from tinyattn.ops.options import check_causal
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

ROWS = 128


@shapes("(i,c),(j,c)->(i,j)", per_token={"weights": "(i)"}, shared=("k",))
def lightning_indexer(q: Array, k: Array, *, weights: Array, keep: int, causal: bool = True) -> Array:
    """Returns a mask of the `keep` keys that score highest for each query, by the weighed positive products of its index heads.

    Formula: score_ij = sum_h weights_hi relu(q_hi . k_j). Queries that see no more than `keep` keys are given all of them, and of
    their scores none is computed.

    Shapes, options and errors are those of `tinyattn.definitions.lightning_indexer`.

    Paper: DeepSeek-AI 2025, arXiv:2512.02556.

    >>> q, k = np.ones((3, 1)), np.array([[1.0], [-1.0], [-2.0]])
    >>> lightning_indexer(q, k, weights=np.ones(3), keep=2)
    array([[ True, False, False],
           [ True,  True, False],
           [ True,  True, False]])
    """
    keep, weights = whole("keep", keep, 1), check_gate("weights", weights, q.shape[:-1], q.dtype)
    (q_len, kv_len), lead = (q.shape[-2], k.shape[-2]), q.shape[:-3]
    mask = np.zeros((*lead, 1, q_len, kv_len), np.bool_)
    last = np.arange(kv_len - q_len, kv_len) if check_causal(causal) else np.full(q_len, kv_len - 1)
    for start in range(0, q_len, ROWS):
        rows = slice(start, start + ROWS)
        seen = max(0, int(last[rows].max()) + 1)
        visible = np.arange(seen) <= last[rows, None]
        mask[..., rows, :seen] = visible if seen <= keep else visible & chosen(q[..., rows, :], k[..., :seen, :], weights[..., rows],
                                                                              visible, keep)
    return mask


def chosen(q: Array, k: Array, weights: Array, visible: Array, keep: int) -> Array:
    """Returns which of the visible keys are among the `keep` best of each query."""
    scores = sum(weights[..., h : h + 1, :, None] * np.maximum(q[..., h : h + 1, :, :] @ k.mT, 0) for h in range(q.shape[-3]))
    return largest(np.where(visible, scores, -np.inf), keep)
