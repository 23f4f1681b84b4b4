"""Faults in scores and weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.score import raw_scores
from tinyattn.testing.broken.twin import twin


def scored(p: Problem, scores: Any, **changes: Any) -> Problem:
    """Returns the problem with given scores, passed as the bias of queries of 0."""
    return p.but(q=p.q * 0.0, bias=scores.astype(p.q.dtype), softcap=None, scale=1.0, **changes)


@twin("default_scale_is_the_root_of_head_dim")
def scale_of_the_values(f: Mechanism, p: Problem) -> Any:
    """The default scale uses value_dim, which differs from head_dim in latent attention."""
    return (p.but(scale=p.v.shape[-1] ** -0.5) if p.options.get("scale") is None else p).call(f)


@twin("default_scale_is_the_root_of_head_dim")
def scale_missing(f: Mechanism, p: Problem) -> Any:
    """Scores are not scaled unless a scale is given."""
    return (p.but(scale=1.0) if p.options.get("scale") is None else p).call(f)


@twin("scores_are_scale_cap_bias_in_that_order", "scale_multiplies_the_query")
def scale_on_top_of_the_root(f: Mechanism, p: Problem) -> Any:
    """A given scale multiplies the default scale instead of replacing it."""
    scale = p.options.get("scale")
    return (p if scale is None else p.but(scale=scale * p.q.shape[-1] ** -0.5)).call(f)


@twin("scores_are_scale_cap_bias_in_that_order")
def bias_scaled_too(f: Mechanism, p: Problem) -> Any:
    """The bias is added before the scale is applied, and shrinks with it."""
    bias = p.options.get("bias")
    return (p if bias is None else p.but(bias=bias * p.q.shape[-1] ** -0.5)).call(f)


@twin("scores_are_scale_cap_bias_in_that_order", "a_row_may_shift")
def cap_after_bias(f: Mechanism, p: Problem) -> Any:
    """The soft cap is applied to the bias as well."""
    cap, bias = p.options.get("softcap"), p.options.get("bias")
    if cap is None or bias is None:
        return p.call(f)
    scores = raw_scores(p.but(softcap=None)) + bias
    return scored(p, cap * np.tanh(scores / cap)).call(f)


@twin("hidden_is_a_bias_of_minus_infinity", "a_mask_says_who_attends")
def cap_after_mask(f: Mechanism, p: Problem) -> Any:
    """The soft cap is applied after the mask: a hidden score becomes -cap and is visible again."""
    cap = p.options.get("softcap")
    if cap is None:
        cap = 5.0  # in the code that shipped with this fault the cap was always on
    scores = raw_scores(p) + p.options.get("bias", 0.0)
    return scored(p, np.where(p.visible(), scores, -cap), mask=None, causal=False, window=None).call(f)


@twin("a_huge_cap_has_no_effect", "a_cap_may_be_a_rule", "scores_are_scale_cap_bias_in_that_order")
def cap_not_multiplied_back(f: Mechanism, p: Problem) -> Any:
    """The soft cap computes tanh(s / cap) without multiplying by cap: scores are at most 1."""
    cap = p.options.get("softcap")
    if cap is None:
        return p.call(f)
    return scored(p, raw_scores(p) / cap + p.options.get("bias", 0.0)).call(f)


@twin("keys_may_shift")
def keys_clipped(f: Mechanism, p: Problem) -> Any:
    """Keys are clipped so that exp cannot overflow, instead of subtracting the largest score."""
    return p.but(k=np.minimum(np.maximum(p.k, -1.0), 1.0)).call(f)


@twin("a_row_may_shift")
def no_largest_score_subtracted(f: Mechanism, p: Problem) -> Any:
    """An epsilon is added to the sum of exponentials, so that shifting all scores of a query changes its weights."""
    scores = np.where(p.visible(), raw_scores(p) + p.options.get("bias", 0.0), -np.inf)
    total = np.exp(np.minimum(scores, 80.0)).sum(axis=-1, keepdims=True)
    return p.call(f) * (total / (total + 1e-2)).astype(p.q.dtype)


@twin("equals_the_definition", "equal_values_give_that_value", "within_the_hull")
def weights_do_not_add_up(f: Mechanism, p: Problem) -> Any:
    """Dropout stays on in evaluation: the weights sum to 1.1."""
    return p.call(f) * 1.1


@twin("a_key_twice_weighs_the_same", "equal_values_give_that_value")
def one_key_too_many(f: Mechanism, p: Problem) -> Any:
    """A key of zeros that pads the last block takes part in the mean."""
    return p.call(f) * (p.k.shape[-2] / (p.k.shape[-2] + 1.0))


@twin("equal_values_give_that_value")
def divided_by_all_keys(f: Mechanism, p: Problem) -> Any:
    """The result is divided by the sum over all keys, hidden ones included."""
    seen = p.visible()
    share = (seen.sum(axis=-1, keepdims=True) + 1.0) / (seen.shape[-1] + 1.0)
    return p.call(f) * share.astype(p.q.dtype)


@twin("linear_in_the_values", "within_the_hull")
def values_in_low_precision(f: Mechanism, p: Problem) -> Any:
    """Values are silently stored in eight bits."""
    return p.but(v=np.round(p.v * 16.0) / 16.0 + 0.5 / 16.0).call(f)


@twin("keys_have_no_order", "equals_streaming_attention")
def last_block_dropped(f: Mechanism, p: Problem) -> Any:
    """Keys are read in blocks of two, and an incomplete last block is skipped."""
    kv_len = p.k.shape[-2]
    if kv_len < 3 or kv_len % 2 == 0:
        return p.call(f)
    return p.but(mask=p.visible() & (np.arange(kv_len) < kv_len - 1), causal=False, window=None).call(f)
