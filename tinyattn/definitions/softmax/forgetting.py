"""Forgetting attention (FoX): each token sets how much of everything before it is forgotten."""

from __future__ import annotations

import numpy as np

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.gates import check_log_share
from tinyattn.ops.options import Window, first_position
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"log_forget": "(j)"})
def forgetting_attention(q: Array, k: Array, v: Array, *, log_forget: Array, window: Window | None = None,
                         scale: float | None = None) -> Array:
    """Returns causal attention in which the forget gates of all tokens after a key lower its score.

    Formula: s_ij = scale q_i . k_j + sum_{j < l <= i} log f_l, P_i = softmax(s_i) over j <= i. A token's own gate does not lower
    its own score. With f_l = 0 no token from l on sees any token before l.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), log_forget (..., heads, j), one gate per query
    head and token -> (..., heads, i, e); i <= j, and the last query stands at the last key.

    Options: log_forget holds log f, at most 0; -inf is f = 0. `window` and `scale` are those of `attention`.

    Raises:
        TypeError, ValueError: log_forget of another shape, above 0 or NaN; more queries than keys; otherwise as `attention`.

    Paper: Lin et al. 2025, arXiv:2503.02130.

    >>> x, f = np.zeros((2, 1)), np.array([1.0, 0.25])
    >>> forgetting_attention(x, x, np.array([[0.0], [5.0]]), log_forget=np.log(f))[:, 0]   # 1 / 4 against 1
    array([0., 4.])
    """
    first, kv_len = first_position(q, k), k.shape[-2]
    log_forget = check_log_share("log_forget", log_forget, (*q.shape[:-2], kv_len), np.float64)
    # Row i holds the gates up to token i, which are summed from i backwards: the sum of few gates does not lose digits to many.
    later = np.arange(1, kv_len) <= np.arange(first, kv_len)[:, None]
    steps = np.where(later, log_forget[..., None, 1:], 0.0)
    sums = np.flip(np.cumsum(np.flip(steps, axis=-1), axis=-1), axis=-1)
    bias = np.concatenate((sums, np.zeros((*sums.shape[:-1], min(kv_len, 1)))), axis=-1)
    return attention(q, k, v, bias=bias.astype(q.dtype), mask=bias > -np.inf, causal=True, window=window, scale=scale)
