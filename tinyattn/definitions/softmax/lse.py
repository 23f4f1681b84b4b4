"""Attention with the log-sum-exp of its scores, by which results over parts of the keys are merged."""

from __future__ import annotations

from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, check_sinks, visible_keys
from tinyattn.ops.score_rule import Score
from tinyattn.ops.scores import scores_of, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import exponentials, log_total, nonzero
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def attention_with_lse(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                       bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                       scale: float | None = None, softcap: float | None = None,
                       sinks: Array | None = None, score: Score | None = None) -> tuple[Array, Array]:
    """Returns (out, lse): attention, and the natural log of each row's sum of exponentials.

    Formula: lse_i = log(sum_j exp(s_ij) + exp(sink)), so that exp(s_ij - lse_i) are the weights; both have gradients.

    Shapes: as `attention`; lse (..., heads, i), float32 or wider, -inf for a query that sees no key and has no sink.

    Raises:
        TypeError, ValueError: as `attention`.

    Paper: Dao et al. 2022, arXiv:2205.14135.

    >>> import numpy as np
    >>> out, lse = attention_with_lse(np.zeros((1, 2)), np.eye(2), np.eye(2))
    >>> float(lse[0]) == float(np.log(2.0))
    True
    """
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    q, k, v = blank_unseen(q, k, v, visible)
    scores = scores_of(q, k, scale=scale, softcap=softcap, score=score, bias=bias, visible=visible)
    exps, total, shift = exponentials(scores, check_sinks(sinks, q.shape[-3], q.dtype))
    return weighted_values(exps, v) / nonzero(total), log_total(total, shift)
