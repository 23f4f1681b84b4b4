"""Dynamic spans as a score rule of the exact kernel, within a window as wide as the longest span."""

from __future__ import annotations

import math

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.tiles.seen import seen_edges
from tinyattn.ops.arguments import check_span
from tinyattn.ops.bias import Bias
from tinyattn.ops.checks import real
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_causal, check_mask, check_window, dense_bias, has_infinite, visible_keys
from tinyattn.ops.score_rule import ScoreRule
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)", per_token={"span": "(i)"})
def dynamic_contextual_attention(q: Array, k: Array, v: Array, *, span: Array | float, ramp: float, causal: bool = True,
                                 mask: Array | Pattern | None = None, bias: Array | Bias | None = None,
                                 window: Window | None = None, scale: float | None = None, softcap: float | None = None,
                                 sinks: Array | None = None) -> Array:
    """Returns attention whose weights fall to 0 beyond a distance that each query sets, its span; compiled.

    Formula: m_ij = clip((ramp + span_i - |i - j|) / ramp, 0, 1), and log m is added to the scores by a score rule. Keys behind
    the longest span are not read.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), span broadcastable to (..., heads, i)
    -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.dynamic_contextual_attention`.

    Paper: Sukhbaatar et al. 2019, arXiv:1905.07799.

    >>> x = np.array([[1.0], [2.0], [6.0]])
    >>> dynamic_contextual_attention(x * 0, x * 0, x, span=np.array([0.0, 1.0, 1.0]), ramp=1.0)[:, 0]
    array([1. , 1.5, 4. ])
    """
    width, spans, full = real("ramp", ramp, above=0.0), check_span(span, q), (*q.shape[:-1], k.shape[-2])
    longest = math.ceil(min(width + float(spans.max().item()), 1 << 60)) if spans.size else 0
    mask = check_mask(mask, full)
    reach = Pattern(lambda i, j: m_of(i - j, spans_at(spans, i, full), width) > 0, text="spans")
    dense = None if isinstance(bias, Bias) else dense_bias(bias, full, q.dtype)
    left, right = (longest if side is None else min(side, longest) for side in check_window(window))
    if dense is not None and has_infinite(dense):
        # Whether a query sees such a key decides what it does.
        seen = visible_keys(mask, False, None, full)
        mask = reach.dense(*full[-2:]) if seen is None else reach.dense(*full[-2:]) & seen
    if not all(np.isfinite(x.sum()) for x in (q, k, v)):
        # A key that no span reaches may hold NaN: the rule hides it, but does not keep it out of products.
        last = 0 if check_causal(causal) else right
        sees, used = seen_edges(reach if mask is None else both(mask, reach), left, last, full, k.shape[-3])
        q, k, v = np.where(sees[..., None], q, 0.0), np.where(used[..., None], k, 0.0), np.where(used[..., None], v, 0.0)

    def fading(s: Array, i: Array, j: Array, span: Array) -> Array:
        m = m_of(i - j, span, width)
        return np.where(m > 0, s + np.log(np.where((m > 0) & (m < 1), m, 1.0)), -np.inf)

    return attention(q, k, v, mask=mask, bias=bias, causal=causal, window=(left, right), scale=scale, softcap=softcap, sinks=sinks,
                     score=ScoreRule(fading, spans[..., None]))


def m_of(distance: Array, span: Array, width: float) -> Array:
    """Returns (width + span - |distance|) / width: exactly 1 or more up to the span, exactly 0 or less from span + width on."""
    return (width + (span - abs(distance))) / width


def spans_at(spans: Array, positions: Array, full: tuple[int, ...]) -> Array:
    """Returns the spans (..., heads, i, 1) of the queries at these positions, (i, 1), as plain numbers."""
    plain = np.broadcast_to(getattr(spans, "value", spans), full[:-1])
    return plain[..., positions[:, 0] - (full[-1] - full[-2]), None]


def both(mask: Array | Pattern, reach: Pattern) -> Array | Pattern:
    """Returns what a mask and the spans show."""
    if isinstance(mask, Pattern):
        return mask & reach
    given, by_query = mask, mask.ndim > 1 and mask.shape[-2] > 1

    def see(i: Array, j: Array) -> Array:
        rows = i[:, 0] - (j.shape[-1] - given.shape[-2]) if by_query else slice(None)
        shown: Array = (given[..., rows, :] if by_query else given) & reach.see(i, j)
        return shown

    return Pattern(see)
