"""Contextual positions (CoPE): the distance to a key counts only the tokens that the query's gates select."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.activation import sigmoid
from tinyattn.ops.arguments import check_embedding
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, visible_keys
from tinyattn.ops.scores import scores_of
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d)->(i,j)")
def contextual_position_bias(q: Array, k: Array, *, embedding: Array, causal: bool = True, mask: Array | Pattern | None = None,
                             window: Window | None = None, scale: float | None = None) -> Array:
    """Returns a bias made from one learned vector per position, where gates count the position of a key.

    Formula: g_ij = sigmoid(scale q_i . k_j), 0 where hidden; p_ij = min(sum_{l >= j} g_il, positions - 1); the bias is
    q_i . e[p_ij], interpolated linearly between two whole positions. If all gates are 1, the position is i - j + 1; if all
    are 0, the bias is constant along a row.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), embedding (positions, d) -> (..., heads, i, j), for `bias=`.

    Options: as `attention`; the attention to which the bias is added must get the same mask, causal and window.

    Raises:
        TypeError, ValueError: an embedding that is not a floating array (positions, d); otherwise as `attention`.

    Paper: Golovneva et al. 2024, arXiv:2405.18719.

    >>> q, k = np.array([[1.0]]), np.array([[50.0], [50.0]])
    >>> contextual_position_bias(q, k, embedding=np.array([[0.0], [10.0], [20.0]]))
    array([[20., 10.]])
    """
    embedding = check_embedding(embedding, q)
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    q, k, _ = blank_unseen(q, k, k, visible)
    gates = sigmoid(scores_of(q, k, scale=scale))
    if visible is not None:
        # Without this a query would also count the later tokens, which it must not see.
        gates = np.where(visible, gates, 0.0)
    counted = np.flip(np.cumsum(np.flip(gates, axis=-1), axis=-1), axis=-1)
    last = embedding.shape[0] - 1
    place = np.where(counted < last, counted, float(last))
    low = np.floor(place)
    at, part = low.astype(np.int64), place - low
    table = q @ embedding.T  # (..., heads, i, positions)
    below, above = (np.take_along_axis(table, np.minimum(index, last), axis=-1) for index in (at, at + 1))
    return (1.0 - part) * below + part * above
