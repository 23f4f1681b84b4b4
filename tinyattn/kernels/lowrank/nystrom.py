"""Nyströmformer: the exact kernel from all queries to the landmarks, and from the landmarks to all keys."""

from __future__ import annotations

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.checks import whole
from tinyattn.ops.landmarks import pseudo_inverse, segment_means
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def nystrom_attention(q: Array, k: Array, v: Array, *, landmarks: int, iterations: int = 6, scale: float | None = None) -> Array:
    """Returns attention by way of landmarks: means of neighbouring queries and of neighbouring keys; compiled.

    Formula: out = attention(q, k~, A^+ attention(q~, k, v)), A = attention(q~, k~, 1), which are the weights themselves.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.nystrom_attention`.

    Paper: Xiong et al. 2021, arXiv:2102.03902.

    >>> x = np.array([[1.0], [3.0]])
    >>> nystrom_attention(x, x, x, landmarks=1).round(6)
    array([[2.964028],
           [2.964028]])
    """
    landmarks, iterations = whole("landmarks", landmarks, 1), whole("iterations", iterations, 0)
    few_q, few_k = segment_means("q", q, landmarks), segment_means("k", k, landmarks)
    right = attention(few_q, k, v, scale=scale)
    one = np.broadcast_to(np.eye(landmarks, dtype=q.dtype), (*few_k.shape[:-1], landmarks))
    inverse = pseudo_inverse(attention(few_q, few_k, one, scale=scale), iterations)
    # What a landmark stands for differs from query head to query head, so each has a copy of its few keys.
    few_k = np.repeat(few_k, q.shape[-3] // max(k.shape[-3], 1), axis=-3)
    return attention(q, few_k, inverse @ right, scale=scale)
