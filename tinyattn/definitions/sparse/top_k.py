"""Top-k attention: each query reads only the keys with its largest scores."""

from __future__ import annotations

from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import whole
from tinyattn.ops.largest import largest
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, blank_unseen, check_sinks, visible_keys
from tinyattn.ops.scores import scores_of, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import softmax
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def top_k_attention(q: Array, k: Array, v: Array, *, keep: int, mask: Array | Pattern | None = None,
                    bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                    scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention in which a query sees only the `keep` keys that score highest among those it may see.

    Formula: out_i = sum_j P_ij v_j, where P_i is the softmax over the `keep` largest s_ij; of equal scores the earlier key is
    kept. No gradient flows through the choice.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options: as `attention`.

    Raises:
        TypeError, ValueError: keep below 1; otherwise as `attention`.

    Paper: Gupta et al. 2021, arXiv:2106.06899; Zhao et al. 2019, arXiv:1912.11637.

    >>> import numpy as np
    >>> k = np.array([[1.0], [3.0], [2.0]])
    >>> top_k_attention(np.ones((1, 1)), k, k, keep=1)
    array([[3.]])
    """
    keep = whole("keep", keep, 1)
    visible = visible_keys(mask, causal, window, (*q.shape[:-1], k.shape[-2]))
    q, k, v = blank_unseen(q, k, v, visible)
    scores = scores_of(q, k, scale=scale, softcap=softcap, bias=bias, visible=visible)
    weights = softmax(scores, largest(scores, keep), check_sinks(sinks, q.shape[-3], q.dtype))
    return weighted_values(weights, v)
