"""The scores of attention, at each stage from the product of a query and a key to what the softmax gets."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, visible_keys
from tinyattn.ops.score_rule import Score
from tinyattn.ops.scores import scores_of
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

STAGES = ("raw", "capped", "biased", "masked")


@shapes("(i,d),(j,d)->(i,j)")
def attention_scores(q: Array, k: Array, *, stage: str = "masked", mask: Array | Pattern | None = None,
                     bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                     scale: float | None = None, softcap: float | None = None, score: Score | None = None) -> Array:
    """Returns the scores of all pairs of a query and a key at one stage of `attention`.

    Formula: "raw" is scale q_i . k_j; "capped" is softcap tanh(raw / softcap); "biased" is rule(capped, i, j) + bias_ij;
    "masked" is biased, and -inf where i does not see j, so that its softmax are the weights of `attention`.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d) -> (..., heads, i, j).

    Options: as `attention`. An option has no effect before its stage: only "masked" looks at mask, causal and window.

    Raises:
        TypeError, ValueError: as `attention`; an unknown stage.

    Paper: Vaswani et al. 2017, arXiv:1706.03762.

    >>> q, k = np.ones((2, 1)), np.array([[1.0], [3.0]])
    >>> attention_scores(q, k, causal=True)
    array([[  1., -inf],
           [  1.,   3.]])
    >>> attention_scores(q, k, causal=True, stage="raw")
    array([[1., 3.],
           [1., 3.]])
    """
    if stage not in STAGES:
        raise ValueError(f"stage: expected one of {', '.join(STAGES)}, got {stage!r}")
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    if stage == "raw":
        return scores_of(q, k, scale=scale)
    if stage == "capped":
        return scores_of(q, k, scale=scale, softcap=softcap)
    if stage == "biased" or visible is None:
        return scores_of(q, k, scale=scale, softcap=softcap, score=score, bias=bias)
    q, k, _ = blank_unseen(q, k, k, visible)
    scores = scores_of(q, k, scale=scale, softcap=softcap, score=score, bias=bias, visible=visible)
    # Where a query sees a key that holds NaN, the other queries' products with it are NaN too, and -inf added leaves them so.
    return np.where(visible, scores, -np.inf)
