"""Relative-position attention (Transformer-XL): scores add the product with a key and the product with a vector of its distance."""

from __future__ import annotations

from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, check_scale, check_sinks, visible_keys
from tinyattn.ops.relation_arguments import at_rows, check_relative, rows_of_distances
from tinyattn.ops.scores import scores_from, scores_of, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import exponentials, nonzero
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def relative_position_attention(q: Array, k: Array, v: Array, *, relative: Array, u: Array, w: Array,
                                bias: Array | Bias | None = None, mask: Array | Pattern | None = None, causal: bool = False,
                                window: Window | None = None, scale: float | None = None, softcap: float | None = None,
                                sinks: Array | None = None) -> Array:
    """Returns attention whose scores add, to the product with a key, a product with a vector of its distance.

    Formula: s_ij = cap(scale ((q_i + u_h) . k_j + (q_i + w_h) . R_{h, i-j})) + bias_ij. The products with all rows of R are
    computed once and shifted from query to query, so that no vector per pair is needed.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), relative (heads, i + j - 1, d), u and w
    (heads, d) -> (..., heads, i, e).

    Options: row n of `relative` is the distance kv_len - 1 - n, query minus key. If no query sees a later key, the first kv_len
    rows, down to the distance 0, are enough. XLNet's term of segments, times the scale, is given as `bias`. The others are those
    of `attention`.

    Raises:
        TypeError, ValueError: a table or vector of another shape; otherwise as `attention`.

    Paper: Dai et al. 2019, arXiv:1901.02860; Yang et al. 2019, arXiv:1906.08237.

    >>> import numpy as np
    >>> x, v = np.zeros((2, 1)), np.array([[1.0], [3.0]])
    >>> far = np.array([[[np.log(3.0)], [0.0], [0.0]]])  # a key one token back has three times the weight
    >>> relative_position_attention(x, x, v, relative=far, u=np.zeros((1, 1)), w=np.ones((1, 1)))[:, 0]
    array([2. , 1.5])
    """
    kv_len, scale = k.shape[-2], check_scale(scale, q.shape[-1])
    relative, u, w = check_relative(relative, u, w, q, kv_len, causal, window)
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], kv_len))
    q, k, v = blank_unseen(q, k, v, visible)
    of_content = scores_of(q + u[:, None, :], k, scale=scale)
    of_distance = ((q + w[:, None, :]) * scale) @ relative.mT  # (..., heads, i, rows of the table)
    shifted = at_rows(of_distance, rows_of_distances(q.shape[-2], kv_len, relative.shape[-2]))
    scores = scores_from(of_content + shifted, softcap, None, bias, visible)
    exps, total, _ = exponentials(scores, check_sinks(sinks, q.shape[-3], q.dtype))
    return weighted_values(exps, v) / nonzero(total)
