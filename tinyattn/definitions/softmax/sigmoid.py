"""Sigmoid attention: every pair has a weight of its own, which does not depend on the other keys."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.arguments import check_per_head
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, count_visible, dense_bias, visible_keys
from tinyattn.ops.scores import scores_of, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def sigmoid_attention(q: Array, k: Array, v: Array, *, offset: Array | float | None = None, mask: Array | Pattern | None = None,
                      bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                      scale: float | None = None, softcap: float | None = None) -> Array:
    """Returns the sum of the visible values, each weighted by the sigmoid of its score plus an offset.

    Formula: P_ij = 1 / (1 + exp(-(s_ij + offset))), out_i = sum_j P_ij v_j over the j that i may see, without a normaliser;
    offset = -log n_i unless it is given, n_i the number of keys that query i sees.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options: offset is a number, or one per head (heads,). The other options are those of `attention`. With a bias of +inf a
    key has the weight 1, and other keys keep theirs.

    Raises:
        TypeError, ValueError: an offset that is not finite or of another shape; otherwise as `attention`.

    Paper: Ramapuram et al. 2024, arXiv:2409.04431, where the offset is -log of the length.

    >>> sigmoid_attention(np.zeros((1, 1)), np.zeros((2, 1)), np.array([[3.0], [6.0]]))   # each weight is 1 / (1 + 2)
    array([[3.]])
    """
    full = (*q.shape[:-1], k.shape[-2])
    visible = visible_keys(mask, causal, window, full)
    shift = -np.log(np.maximum(count_visible(visible, full, q.dtype), 1.0)) if offset is None else check_per_head("offset", offset, q)
    q, k, v = blank_unseen(q, k, v, visible)
    logits, added = scores_of(q, k, scale=scale, softcap=softcap) + shift, dense_bias(bias, full, q.dtype)
    logits = logits if added is None else logits + added
    logits = logits if visible is None else np.where(visible, logits, -np.inf)
    # Not by tanh: where a logit is far below 0 the weight is tiny, and 1 + tanh would round it to 0.
    return weighted_values(np.exp(-np.logaddexp(0.0, -logits)), v)
