"""Faults in score rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.score_rule import ScoreRule, with_parts
from tinyattn.testing.broken.twin import twin


def rule_of(p: Problem) -> ScoreRule | None:
    """Returns the score rule of a problem, with parameters or without."""
    rule = p.options.get("score")
    return rule if rule is None or isinstance(rule, ScoreRule) else ScoreRule(rule)


@twin("a_rule_stands_between_cap_and_bias")
def rule_after_bias(f: Mechanism, p: Problem) -> Any:
    """The rule is applied to the scores with their bias."""
    rule, bias = rule_of(p), p.options.get("bias")
    if rule is None or not isinstance(bias, np.ndarray):
        return p.call(f)
    late = ScoreRule(lambda s, i, j, b, *more: rule.function(s + b, i, j, *more), bias, *rule.parameters)
    return p.but(bias=None, score=late).call(f)


@twin("a_rule_stands_between_cap_and_bias")
def rule_before_cap(f: Mechanism, p: Problem) -> Any:
    """The cap is applied to what the rule gives."""
    rule, cap = rule_of(p), p.options.get("softcap")
    if rule is None or cap is None:
        return p.call(f)
    return p.but(softcap=None, score=ScoreRule(lambda s, i, j, *more: cap * np.tanh(rule.function(s, i, j, *more) / cap),
                                               *rule.parameters)).call(f)


@twin("alibi_may_be_a_rule", "a_rule_stands_between_cap_and_bias", "llama_4_temperature_is_a_rule")
def rule_positions_from_the_top(f: Mechanism, p: Problem) -> Any:
    """The rule gives the first query the position of the first key, as if there were no cache."""
    rule, shift = rule_of(p), p.k.shape[-2] - p.q.shape[-2]
    if rule is None:
        return p.call(f)
    return p.but(score=ScoreRule(lambda s, i, j, *more: rule.function(s, i - shift, j, *more), *rule.parameters)).call(f)


@twin("alibi_may_be_a_rule", "a_rule_stands_between_cap_and_bias")
def rule_parameter_of_another_head(f: Mechanism, p: Problem) -> Any:
    """The parameters are those of the kv head with the same number."""
    rule = rule_of(p)
    if rule is None:
        return p.call(f)
    heads, kv_heads = p.q.shape[-3], p.k.shape[-3]
    return p.but(score=with_parts(rule, lambda x: x[np.arange(heads) % kv_heads] if x.ndim > 2 else x)).call(f)


@twin("a_rule_of_hidden_pairs_has_no_effect")
def rule_added_up_where_hidden(f: Mechanism, p: Problem) -> Any:
    """Weights of hidden pairs are set to 0 after the rule, so that 0 times NaN reaches the output."""
    rule = rule_of(p)
    if rule is None:
        return p.call(f)
    i, j = np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None], np.arange(p.k.shape[-2])
    with np.errstate(all="ignore"):
        given = rule.function(np.zeros(p.full()), i.astype(float), j.astype(float), *rule.parameters)
    spoilt = (given * 0.0 * ~p.visible()).sum(axis=-1, keepdims=True)
    return p.call(f) + spoilt.astype(p.q.dtype)
