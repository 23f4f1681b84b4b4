"""Nyströmformer: attention through a few landmarks, which are means of queries and of keys."""

from __future__ import annotations

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.definitions.softmax.weights import attention_weights
from tinyattn.ops.checks import whole
from tinyattn.ops.landmarks import pseudo_inverse, segment_means
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def nystrom_attention(q: Array, k: Array, v: Array, *, landmarks: int, iterations: int = 6, scale: float | None = None) -> Array:
    """Returns an approximation of attention through landmarks: means of neighbouring queries and of neighbouring keys.

    Formula: out = F A^+ B v, F = softmax(q k~^T), A = softmax(q~ k~^T), B = softmax(q~ k^T), all scaled; q~ and k~ are the means of
    `landmarks` segments. A^+ is approximated by iterating Z <- Z (13 - AZ (15 - AZ (7 - AZ))) / 4 from A^T / (|A|_1 |A|_inf),
    separately for each matrix of a batch. The paper also adds a convolution of v, which belongs to a layer.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e); landmarks divides
    both lengths. Every query sees all keys.

    Raises:
        TypeError, ValueError: landmarks that do not divide the lengths, iterations below 0; otherwise as `attention`.

    Paper: Xiong et al. 2021, arXiv:2102.03902.

    >>> import numpy as np
    >>> x = np.array([[1.0], [3.0]])
    >>> nystrom_attention(x, x, x, landmarks=1).round(6)
    array([[2.964028],
           [2.964028]])
    """
    landmarks, iterations = whole("landmarks", landmarks, 1), whole("iterations", iterations, 0)
    few_q, few_k = segment_means("q", q, landmarks), segment_means("k", k, landmarks)
    right = attention(few_q, k, v, scale=scale)  # B v
    inverse = pseudo_inverse(attention_weights(few_q, few_k, scale=scale), iterations)
    left: Array = attention_weights(q, few_k, scale=scale) @ (inverse @ right)
    return left
