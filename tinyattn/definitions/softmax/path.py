"""PaTH attention: each token between a key and a query reflects the query along a direction of its own."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.heads import split_group
from tinyattn.ops.options import check_scale, first_position, visible_keys
from tinyattn.ops.relation_arguments import check_reflections
from tinyattn.ops.scores import scores_from, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import exponentials, nonzero
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"w": "(j,d)", "beta": "(j)", "log_forget": "(j)"})
def path_attention(q: Array, k: Array, v: Array, *, w: Array, beta: Array, log_forget: Array | None = None,
                   scale: float | None = None) -> Array:
    """Returns causal attention in which every token after a key changes the score of the query with that key.

    Formula: s_ij = scale k_j^T H_{j+1} ... H_i q_i + sum_{j < l <= i} log f_l, H_l = I - beta_l w_l w_l^T, for j <= i. So H_i
    is applied to the query first, and a token's score with its own key has no such factor. The second sum is not scaled.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), w (..., kv_heads, j, d), beta
    (..., kv_heads, j), log_forget (..., heads, j) -> (..., heads, i, e); i <= j, and the last query stands at the last key.

    Options: w is taken as it is; the paper gives it length 1, with beta from 0 to 2. log_forget holds log f, at most 0, one gate
    per query head and token; None is f = 1. `scale` is that of `attention`.

    Raises:
        TypeError, ValueError: w, beta or log_forget of another shape, w or beta that is not finite, log_forget above 0 or NaN; more
            queries than keys; otherwise as `attention`.

    Paper: Yang et al. 2025, arXiv:2505.16381.

    >>> k = np.array([[1.0, 0.0], [0.0, 0.0]]); v = np.array([[1.0], [3.0]])
    >>> path_attention(50.0 * k[:1], k, v, w=k[::-1], beta=np.full(2, 2.0))  # the second token turns the query away from the first
    array([[3.]])
    """
    first, kv_len = first_position(q, k), k.shape[-2]
    w, beta, log_forget = check_reflections(w, beta, log_forget, q, k)
    positions, columns = np.arange(first, kv_len), []
    turned = split_group(q * check_scale(scale, q.shape[-1]), k.shape[-3])  # (..., kv_heads, groups, i, d)
    for j in range(kv_len - 1, -1, -1):
        key, direction = (x[..., None, j : j + 1, :] for x in (k, w))
        columns.append(np.sum(turned * key, axis=-1))
        along = beta[..., None, j : j + 1, None] * np.sum(turned * direction, axis=-1, keepdims=True)
        turned = np.where(positions[:, None] >= j, turned - along * direction, turned)
    full = (*q.shape[:-1], kv_len)
    products = np.stack(columns[::-1], axis=-1).reshape(full) if columns else np.zeros(full, q.dtype)
    forgotten = None
    if log_forget is not None:
        # Row i holds the gates up to token i, which are summed from i backwards, so that -inf is never taken from -inf.
        later = np.arange(1, kv_len + 1) <= positions[:, None]
        steps = np.where(later, np.concatenate((log_forget[..., 1:], log_forget[..., :1]), axis=-1)[..., None, :], 0.0)
        forgotten = np.flip(np.cumsum(np.flip(steps, axis=-1), axis=-1), axis=-1).astype(q.dtype)
    scores = scores_from(products, None, None, forgotten, visible_keys(None, True, None, full))
    exps, total, _ = exponentials(scores)
    return weighted_values(exps, v) / nonzero(total)
