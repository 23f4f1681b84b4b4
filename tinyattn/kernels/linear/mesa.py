"""Mesa, a chunk of tokens at a time: the regressions of a chunk are made by one product, and solved by one call of LAPACK."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.gates import check_gate, check_log_decay, decays_between
from tinyattn.ops.heads import split_group
from tinyattn.ops.linear_options import check_ridge, check_sums, solved
from tinyattn.ops.options import check_scale, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

# The matrices of a chunk should stay in the cache of a core: 16 of 64 x 64 channels take 256 KiB in float32.
CHUNK = 16


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_decay": "(j)", "beta": "(j)"}, states=("ridge", "initial_state"))
def mesa(q: Array, k: Array, v: Array, *, log_decay: Array, beta: Array, ridge: Array, scale: float | None = None,
         initial_state: Any = None, return_state: bool = False) -> Any:
    """Returns what a linear map from keys to values, fitted anew at every token to all tokens so far, says of the queries.

    Formula: H_t = sum_j w_tj k_j k_j^T and out_t = scale sum_j w_tj (x_t . k_j) v_j with x_t = (H_t + diag(ridge))^-1 q_t and
    w_tj = beta_j times the decays after j up to t. So only H is made for every token, and sum_j k_j v_j^T once per chunk.

    Shapes, options and errors are those of `tinyattn.definitions.mesa`.

    Paper: von Oswald et al. 2025, arXiv:2506.05233.

    >>> k = np.ones((2, 1)); v = np.array([[1.0], [3.0]])
    >>> mesa(k, k, v, log_decay=np.zeros(2), beta=np.ones(2), ridge=np.array([1e-9])).round(6)
    array([[1.],
           [2.]])
    """
    log_decay, beta = check_log_decay(log_decay, k.shape[:-1], k.dtype), check_gate("beta", beta, k.shape[:-1], k.dtype)
    ridge, (values, keys) = check_ridge(ridge, k), check_sums(initial_state, k, v)
    first, queries = first_position(q, k), split_group(q * check_scale(scale), k.shape[-3])
    # In a product of a chunk 0 times NaN would reach tokens before the NaN.
    size = CHUNK if np.isfinite(k).all() and np.isfinite(v).all() else 1
    rows, shape, width = [], (*q.shape[:-1], v.shape[-1]), k.shape[-1]
    for start in range(0, k.shape[-2], size):
        cut = slice(start, start + size)
        told, said, lag = k[..., cut, :], v[..., cut, :], max(0, first - start)
        since = np.exp(np.cumsum(log_decay[..., cut], axis=-1))[..., None]
        weigh = decays_between(log_decay[..., cut, None])[..., 0] * beta[..., None, cut]
        if lag < told.shape[-2]:
            mine, kept = weigh[..., lag:, :], since[..., lag:, :]
            squares = (told[..., :, None] * told[..., None, :]).reshape(*told.shape[:-1], width * width)
            summed = (mine @ squares).reshape(*mine.shape[:-1], width, width) + kept[..., None] * keys[..., None, :, :]
            asked = queries[..., max(0, start - first) : max(0, start + size - first), :]  # (..., kv_heads, groups, i, d)
            x = np.moveaxis(solved(summed + ridge[..., None, :, :], np.moveaxis(asked, -3, -1)), -1, -3)
            rows.append(((x @ told[..., None, :, :].mT) * mine[..., None, :, :]) @ said[..., None, :, :]
                        + (x * kept[..., None, :, :]) @ values[..., None, :, :])
        weighed = (weigh[..., -1, :, None] * told).mT
        values, keys = (since[..., -1:, :] * old + weighed @ new for old, new in ((values, said), (keys, told)))
    out = np.concatenate(rows, axis=-2).reshape(shape) if rows else np.zeros(shape, q.dtype)
    return (out, (values, keys)) if return_state else out
