"""Talking-heads attention: one learned matrix mixes the heads before the softmax and another after it."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, check_sinks, visible_keys
from tinyattn.ops.relation_arguments import check_mixture, mixed_heads
from tinyattn.ops.scores import scores_from, scores_of, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import exponentials, nonzero
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def talking_heads_attention(q: Array, k: Array, v: Array, *, before: Array, after: Array, mask: Array | Pattern | None = None,
                            bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                            scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention in which every head's scores and weights are mixtures of those of all heads.

    Formula: s_g = sum_h before_gh cap(scale q_h k_h^T) + bias_g, P_g = softmax(s_g) over the keys that i may see,
    out_g = (sum_h after_gh P_h) v_g. Bias and mask come after the first mixture: -inf mixed with a weight of 0 would be NaN.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), before and after (heads, heads)
    -> (..., heads, i, e).

    Options: row g of `before` and of `after` says how much of each head goes into the new head g. The others are those of
    `attention`; bias, mask and sinks are those of the new heads.

    Raises:
        TypeError, ValueError: a matrix that is not a floating array (heads, heads); otherwise as `attention`.

    Paper: Shazeer et al. 2020, arXiv:2003.02436.

    >>> x = np.ones((2, 1, 1)); v = np.array([[[1.0]], [[3.0]]])
    >>> talking_heads_attention(x, x, v, before=np.eye(2), after=np.array([[0.5, 0.5], [0.0, 2.0]]))[:, 0, 0]
    array([1., 6.])
    """
    before, after = check_mixture("before", before, q), check_mixture("after", after, q)
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    # A pair that one head hides still counts in the heads that see it.
    q, k, v = blank_unseen(q, k, v, np.any(visible, axis=-3, keepdims=True) if visible is not None and visible.ndim > 2 else visible)
    capped = scores_from(scores_of(q, k, scale=scale), softcap, None, None, None)
    scores = scores_from(mixed_heads(before, capped), None, None, bias, visible)
    exps, total, _ = exponentials(scores, check_sinks(sinks, q.shape[-3], q.dtype))
    return weighted_values(mixed_heads(after, exps / nonzero(total)), v)
