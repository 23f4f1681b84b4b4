"""Talking heads, in tiles or rows of queries: both mixtures need the scores of all heads at once, so they are held side by side."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tinyattn.kernels.rows.mixtures import fits, mixed, mixed_gradients
from tinyattn.kernels.softmax.by_rows import by_rows
from tinyattn.kernels.softmax.row_scores import Index, Scores, Task, Tiled
from tinyattn.kernels.tiles.seen import without_hidden
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_scale
from tinyattn.ops.relation_arguments import check_mixture, mixed_heads
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def talking_heads_attention(q: Array, k: Array, v: Array, *, before: Array, after: Array, mask: Array | Pattern | None = None,
                            bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                            scale: float | None = None, softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention in which every head's scores and weights are mixtures of those of all heads, by rows of queries.

    Formula: s_g = sum_h before_gh cap(scale q_h k_h^T) + bias_g, out_g = (sum_h after_gh softmax(s_h)) v_g.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), before and after (heads, heads)
    -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.talking_heads_attention`.

    Paper: Shazeer et al. 2020, arXiv:2003.02436.

    >>> x = np.ones((2, 1, 1)); v = np.array([[[1.0]], [[3.0]]])
    >>> talking_heads_attention(x, x, v, before=np.eye(2), after=np.array([[0.5, 0.5], [0.0, 2.0]]))[:, 0, 0]
    array([1., 6.])
    """
    own = check_mixture("before", before, q), check_mixture("after", after, q)
    q, k, v = without_hidden(q, k, v, mask, causal, window, together=True)
    return by_rows(Mixtures, q, k, v, own, mask=mask, bias=bias, causal=causal, window=window,
                   scale=check_scale(scale, q.shape[-1]), softcap=softcap, sinks=sinks)


class Mixtures(Scores):
    """Scores and weights of all heads, mixed by two matrices."""

    definition: ClassVar[str] = "talking_heads_attention"
    names: ClassVar[tuple[str, ...]] = ("before", "after")
    together: ClassVar[bool] = True
    tiled = Tiled(lambda q, k, v, bias, call: fits(q, k, v, call.options),
                  lambda q, k, v, bias, sinks, own, call: mixed(q, k, v, bias, sinks, own[0], own[1], call.options),
                  mixed_gradients)

    @classmethod
    def places(cls, task: Task) -> tuple[Index, ...]:
        return ((slice(None),),) * 2

    def mixed_before(self, capped: Array) -> Array:
        return mixed_heads(self.own[0], capped)

    def pull_before(self, d_scores: Array, capped: Array) -> Array:
        return self.pulled(0, d_scores, capped)

    def mixed_after(self, weights: Array) -> Array:
        return mixed_heads(self.own[1], weights)

    def pull_after(self, d_mixed: Array, weights: Array) -> Array:
        return self.pulled(1, d_mixed, weights)

    def pulled(self, n: int, d_mixed: Array, x: Array) -> Array:
        """Returns the gradient of what a matrix mixes, and adds that of the matrix."""
        self.d_own[n] += np.tensordot(d_mixed, x, axes=((1, 2), (1, 2)))
        return mixed_heads(self.own[n].T, d_mixed)
