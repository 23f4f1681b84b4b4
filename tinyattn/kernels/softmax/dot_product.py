"""Attention by the kernels. It takes the arguments of the definition and refuses what the definition refuses."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.exact import lines
from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.rules.tiles import compiled_rule, expression_of, flat
from tinyattn.kernels.tiles.seen import sides_of
from tinyattn.kernels.tiles.storage import distances, sizes_of
from tinyattn.ops.bias import Bias
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import (
    Window,
    blank_unseen,
    check_bias,
    check_causal,
    check_mask,
    check_scale,
    check_sinks,
    check_softcap,
    visible_keys,
)
from tinyattn.ops.score_rule import Score, ScoreRule, bottom_right, check_score, of_keys, with_parts
from tinyattn.ops.scores import scores_of, weighted_values
from tinyattn.ops.signature import shapes
from tinyattn.ops.softmax import exponentials, log_total, nonzero
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def attention(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
              bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
              scale: float | None = None, softcap: float | None = None, sinks: Array | None = None,
              score: Score | None = None) -> Array:
    """Returns for every query the mean of the visible values, weighted by the softmax of its scores; compiled.

    Formula: out_i = sum_j P_ij v_j, P_ij = exp(s_ij - lse_i), by tiles and an online softmax: no full row of scores is ever
    stored, blocks that no query sees are skipped, keys and values of a group are read in place.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e) -> (..., heads, i, e).

    Options, empty rows and hidden slots are those of `tinyattn.definitions.attention`. Gradients come from a backward of
    its own, which is not differentiable: for a second derivative use `tinyattn.attention`.

    Raises:
        TypeError, ValueError: as the definition. TypeError: a second derivative.

    Paper: Dao 2023, arXiv:2307.08691.

    >>> k = np.eye(2); v = np.array([[1.0], [3.0]])
    >>> attention(np.zeros((1, 2)), k, v)
    array([[2.]])
    """
    return solve(q, k, v, mask, bias, causal, window, scale, softcap, sinks, score)[0]


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def attention_with_lse(q: Array, k: Array, v: Array, *, mask: Array | Pattern | None = None,
                       bias: Array | Bias | None = None, causal: bool = False, window: Window | None = None,
                       scale: float | None = None, softcap: float | None = None,
                       sinks: Array | None = None, score: Score | None = None) -> tuple[Array, Array]:
    """Returns (out, lse): attention, and the natural log of each row's sum of exponentials; compiled.

    Formula: lse_i = log(sum_j exp(s_ij) + exp(sink)); both results have gradients.

    Shapes: as `attention`; lse (..., heads, i), -inf for a query that sees no key and has no sink.

    Raises:
        TypeError, ValueError: as the definition. TypeError: a second derivative.

    Paper: Dao 2023, arXiv:2307.08691.

    >>> out, lse = attention_with_lse(np.zeros((1, 2)), np.eye(2), np.eye(2))
    >>> bool(abs(lse[0] - np.log(2.0)) < 1e-15)
    True
    """
    return solve(q, k, v, mask, bias, causal, window, scale, softcap, sinks, score)


def solve(q: Array, k: Array, v: Array, mask: Array | Pattern | None, bias: Array | Bias | None, causal: bool,
          window: Window | None, scale: float | None, softcap: float | None, sinks: Array | None,
          score: Score | None) -> tuple[Array, Array]:
    """Returns (out, lse) from the exact kernel, after the definition's checks."""
    full = (*q.shape[:-1], k.shape[-2])
    heads, q_len, kv_len = full[-3:]
    # In the order of the definition, so that of two wrong arguments the same is named.
    mask = check_mask(mask, full)
    left, right = sides_of(window)
    right = 0 if check_causal(causal) else right
    scale, softcap = check_scale(scale, q.shape[-1]), check_softcap(softcap)
    rule = check_score(score, full, q.dtype)
    bias = check_bias(bias, full, q.dtype, lambda: visible_keys(mask, causal, window, full))
    sinks = check_sinks(sinks, heads, q.dtype)
    start = 0 if left is None or mask is not None else max(0, kv_len - q_len - left)
    if start:
        # No query's window reaches the keys before `start`: they are not read, whatever they hold.
        k, v, kv_len = k[..., start:, :], v[..., start:, :], kv_len - start
        if bias is not None and not isinstance(bias, Bias) and bias.ndim and bias.shape[-1] > 1:
            bias = bias[..., start:]
        rule = None if rule is None else of_keys(rule, np.arange(start, start + kv_len))
    few = exact.few(sizes_of(q, k, v))
    if few and (rule is not None or mask is not None):
        if rule is not None:
            expression_of(rule, q.dtype)  # what the kernel refuses is refused at every size
        parameters = () if rule is None else rule.parameters
        origin = 0 if rule is None else origin_of(rule, q_len, kv_len)
        if origin is not None and all(map(is_plain, (q, k, v, bias, sinks, *parameters))):
            seen = lines.shown(mask, slice(None), kv_len - q_len, (*full[:-1], kv_len))
            return lines.attention_with_lse(q, k, v, lines.Scoring(seen, bias, left, right, scale, softcap, rule), sinks, origin)
        if rule is not None:
            visible = visible_keys(mask, causal, window, (*full[:-1], kv_len))
            return by_lines(q, k, v, visible, bias, scale, softcap, sinks, rule)
    if isinstance(bias, Bias) and not few:
        bias, rule = slopes_in_rule(bias, rule, (*full[:-1], kv_len), q.dtype)
    distance = None
    if isinstance(bias, Bias):
        distance, bias = distances(bias, heads, q_len, kv_len, q.dtype), None
    learned = any(x is not None and not isinstance(x, np.ndarray) for x in (bias, distance))
    options = exact.Options(mask, left, right, scale, softcap, learned)
    if rule is None:
        return exact.attention_with_lse(q, k, v, bias, distance, sinks, options)
    options = options._replace(rule=compiled_rule(rule, (*full[:-1], kv_len), q.dtype))
    return exact.attention_with_lse(q, k, v, bias, distance, sinks, options, flat(rule, q.dtype))


def by_lines(q: Array, k: Array, v: Array, visible: Array | None, bias: Array | Bias | None, scale: float, softcap: float | None,
             sinks: Array | None, rule: ScoreRule) -> tuple[Array, Array]:
    """Returns (out, lse) of a few queries, with gradients; their scores are an array no larger than a tile of keys.

    The kernel of tiles computes whole registers of queries per head, most of which would be empty here, and takes three times as
    long. The one of decoding has no backward for a rule.
    """
    q, k, v = blank_unseen(q, k, v, visible)
    scores = scores_of(q, k, scale=scale, softcap=softcap, score=rule, bias=bias, visible=visible)
    exps, total, shift = exponentials(scores, sinks)
    return weighted_values(exps, v) / nonzero(total), log_total(total, shift)


def origin_of(rule: ScoreRule, q_len: int, kv_len: int) -> int | None:
    """Returns the position of the first key if the keys follow each other and the last query stands at the last; else None."""
    queries, keys = rule.positions or bottom_right(q_len, kv_len)
    origin = int(keys.flat[0])
    stand = np.arange(origin, origin + kv_len)
    return origin if np.array_equal(keys, stand) and np.array_equal(queries, stand[kv_len - q_len :]) else None


def is_plain(x: Any) -> bool:
    """Returns whether an argument wants no gradient: an array, nothing, or a bias whose numbers are an array."""
    return x is None or isinstance(x.of(np.arange(1)) if isinstance(x, Bias) else x, np.ndarray)


def slopes_in_rule(bias: Bias, rule: ScoreRule | None, full: tuple[int, ...],
                   dtype: Any) -> tuple[Bias | None, ScoreRule | None]:
    """Returns (None, rule) with a bias of slopes computed by the rule, after it; a bias of another kind is left as it is.

    Measured: read from a table of all distances it costs 0.4 times the kernel, computed 0.05 times.
    """
    slopes = getattr(bias.of, "slopes", None)
    if slopes is None or slopes.shape[0] not in (1, full[-3]):
        return bias, rule
    before, given = (None, ()) if rule is None else (rule.function, rule.parameters)

    def sloped(s: Array, i: Array, j: Array, slope: Array, *parameters: Array) -> Array:
        return (s if before is None else before(s, i, j, *parameters)) - slope * abs(i - j)

    made = ScoreRule(sloped, slopes[:, None, None], *given)
    queries, keys = bottom_right(*full[-2:]) if rule is None or rule.positions is None else rule.positions
    return None, check_score(with_parts(made, lambda x: x, (queries, keys)), full, dtype)
