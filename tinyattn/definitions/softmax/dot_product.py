"""Scaled dot-product attention: every query averages the values, weighted by how well its keys match it."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.bias import Bias
from tinyattn.ops.heads import fold_group, unfold_group
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import (
    Window,
    additive,
    blank_unseen,
    check_scale,
    check_sinks,
    check_softcap,
    visible_keys,
)
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import exponentials, log_total, nonzero
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
              bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
              scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns for every query the mean of the visible values, weighted by the softmax of its scores.

    Formula: s_ij = cap(scale q_i . k_j) + bias_ij, P_ij = exp(s_ij) / (sum_j' exp(s_ij') + exp(sink)),
    out_i = sum_j P_ij v_j, over the j that i may see; cap(x) = softcap tanh(x / softcap).

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e); query head h
    reads kv head h // (heads // kv_heads).

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: boolean, True attends, broadcastable to (..., heads, i, j); or a Pattern.
        bias: added to the scores after the cap, before the mask; an array or a Bias.
        causal: a query sees no later key; the last query stands at the last key.
        window: (left, right) counts keys besides the query's own position; None on a side is unbounded.
        scale: factor of the scores; None is d ** -0.5.
        softcap: bound of the scores; None is off.
        sinks: (heads,) logits that take weight and give nothing.

    A query that sees no key gives 0. NaN or inf in a slot that no query of its head sees changes nothing. A bias of +inf on
    one key that a query sees takes all of its weight, on two of them its row is NaN; a sink of +inf is refused.

    Raises:
        TypeError: an argument of another kind or dtype. ValueError: one of another shape or range.

    Paper: Vaswani et al. 2017, arXiv:1706.03762.

    >>> k = np.eye(2); v = np.array([[1.0], [3.0]])
    >>> attention(np.zeros((1, 2)), k, v)
    array([[2.]])
    """
    exps, total, _, v = summands(q, k, v, mask, bias, causal, window, scale, softcap, sinks)
    # Dividing the (i, e) result rather than the (i, j) weights saves two passes over the scores, four with gradients.
    return unfold_group(fold_group(exps, v.shape[-3]) @ v, q.shape[-3]) / nonzero(total)


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def attention_with_lse(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                       bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                       scale: float | None = None, softcap: float | None = None,
                       sinks: Array | None = None) -> tuple[Array, Array]:
    """Returns (out, lse): attention, and the natural log of each row's sum of exponentials.

    Formula: lse_i = log(sum_j exp(s_ij) + exp(sink)), so that exp(s_ij - lse_i) are the weights; both have gradients.

    Shapes: as `attention`; lse (..., heads, i), float32 or wider, -inf for a query that sees no key and has no sink.

    Raises:
        TypeError, ValueError: as `attention`.

    Paper: Dao et al. 2022, arXiv:2205.14135.

    >>> out, lse = attention_with_lse(np.zeros((1, 2)), np.eye(2), np.eye(2))
    >>> float(lse[0]) == float(np.log(2.0))
    True
    """
    exps, total, shift, v = summands(q, k, v, mask, bias, causal, window, scale, softcap, sinks)
    out = unfold_group(fold_group(exps, v.shape[-3]) @ v, q.shape[-3]) / nonzero(total)
    return out, log_total(total, shift)


@shapes("(i,d),(j,d)->(i,j)")
def attention_weights(q: Array, k: Array, *, mask: Array | Pattern | None = None,
                      bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                      scale: float | None = None, softcap: float | None = None,
                      sinks: Array | None = None) -> Array:
    """Returns the weights that `attention` gives its values: each row sums to 1, or to 0 where nothing is visible.

    Formula: P_ij = exp(s_ij) / (sum_j' exp(s_ij') + exp(sink)); with a sink a row sums to less than 1.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d) -> (..., heads, i, j).

    Raises:
        TypeError, ValueError: as `attention`.

    Paper: Vaswani et al. 2017, arXiv:1706.03762.

    >>> attention_weights(np.zeros((2, 1)), np.zeros((2, 1)), causal=True)
    array([[1. , 0. ],
           [0.5, 0.5]])
    """
    exps, total, _, _ = summands(q, k, k, mask, bias, causal, window, scale, softcap, sinks)
    return exps / nonzero(total)


def summands(q: Array, k: Array, v: Array, mask: Array | Pattern | None, bias: Array | Bias | None, causal: bool,
             window: Window | None, scale: float | None, softcap: float | None,
             sinks: Array | None) -> tuple[Array, Array, Array, Array]:
    """Returns exp(s_ij - shift_i), the row totals, the shifts, and the values with unseen slots blanked."""
    full = (*q.shape[:-1], k.shape[-2])
    heads, kv_heads = q.shape[-3], k.shape[-3]
    scale, softcap = check_scale(scale, q.shape[-1]), check_softcap(softcap)
    sinks = check_sinks(sinks, heads, q.dtype)
    visible = visible_keys(mask, causal, window, full)
    q, k, v = blank_unseen(q, k, v, visible)
    scores = unfold_group(fold_group(q * scale, kv_heads) @ k.mT, heads)
    if softcap is not None:
        # The cap comes before the mask: tanh would bring -inf back to -softcap and show what is hidden.
        scores = softcap * np.tanh(scores / softcap)
    shown = additive(bias, visible, full, q.dtype)
    if shown is not None:
        scores = scores + shown
    return *exponentials(scores, sinks), v
