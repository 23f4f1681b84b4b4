"""Laws of score rules: a rule can do what an option does, and it is applied after the cap and before the bias."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.budget import Outputs
from tinyattn.laws.draw.options import given, one_of, with_options
from tinyattn.laws.draw.sizes import at_most_keys
from tinyattn.laws.draw.softmax import ALL, softmax, without
from tinyattn.laws.law import Law, plain, unchanged
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.score import scores_as_bias
from tinyattn.ops.bias import alibi
from tinyattn.ops.score_rule import ScoreRule
from tinyattn.ops.types import Array


def capped(s: Array, i: Array, j: Array, bound: Array) -> Array:
    """Returns the score capped."""
    return bound * np.tanh(s / bound)


def cap_as_rule(p: Problem) -> Problem:
    """Returns the problem with its cap as a rule whose parameter is the cap."""
    return p.but(softcap=None, score=ScoreRule(capped, np.array(p.options["softcap"], p.q.dtype)))


def slopes(p: Problem) -> Array:
    """Returns one slope per head, no two alike."""
    return np.linspace(0.2, 1.1, p.q.shape[-3]).astype(p.q.dtype)


def sloped(s: Array, i: Array, j: Array, slope: Array) -> Array:
    """Returns the score less a slope times the distance."""
    return s - slope * abs(i - j)


def alibi_as_rule(p: Problem) -> Problem:
    """Returns the problem with ALiBi as a rule."""
    return p.but(bias=None, score=ScoreRule(sloped, slopes(p)[:, None, None]))


def squared(s: Array, i: Array, j: Array, weight: Array) -> Array:
    """Returns a rule that is not linear in the score, and is neither even nor odd in the distance."""
    return weight * s * abs(s) - 0.25 * s * (i - j)


def squared_as_bias(p: Problem) -> Problem:
    """Returns the problem with the scores computed by the same rule in float64 and given as a bias."""
    first = scores_as_bias(p.but(bias=np.zeros((), p.q.dtype), score=None)).options["bias"].astype(np.float64)
    i, j = np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])[:, None], np.arange(p.k.shape[-2])
    scores = squared(first, i, j, slopes(p)[:, None, None]) + p.options["bias"]
    return p.but(q=p.q * 0.0, bias=scores.astype(p.q.dtype), softcap=None, scale=1.0, score=None)


def exponents(f: Mechanism, p: Problem, _found: Outputs) -> Outputs:
    """Returns the sum of the absolute terms of the output times the largest score, to whose digits each exponent is rounded.

    Where a cap saturates in float32, its rounding in float64 shows in no evaluation.
    """
    same = squared_as_bias(p)
    largest = np.max(np.abs(same.options["bias"]), where=p.visible(), initial=0.0)
    return (largest * plain(f, same.but(v=np.abs(p.v)))[0],)


def with_squared(p: Problem) -> Problem:
    """Returns the problem with the rule, whose parameter differs from head to head."""
    return p.but(score=ScoreRule(squared, slopes(p)[:, None, None]))


FLOOR = 3  # Llama 4 takes 8192


def tempered(s: Array, i: Array, j: Array) -> Array:
    """Returns the score times Llama 4's temperature, which grows with the position of the query."""
    return s * (0.1 * np.log(np.floor((i + 1.0) / FLOOR) + 1.0) + 1.0)


def queries_tempered(p: Problem) -> Problem:
    """Returns the problem with the temperature on its queries."""
    places = np.arange(p.k.shape[-2] - p.q.shape[-2], p.k.shape[-2])
    return p.but(score=None, q=(p.q * tempered(np.ones(places.shape), places, places)[:, None]).astype(p.q.dtype))


def faded(s: Array, i: Array, j: Array) -> Array:
    """Returns the score over the square root of the distance, which is infinite or NaN for every later key."""
    return s * (i - j + 1.0) ** -0.5


def faded_safely(s: Array, i: Array, j: Array) -> Array:
    """Returns the same for earlier keys, and finite numbers for later ones."""
    return s * np.maximum(i - j + 1.0, 1.0) ** -0.5


LAWS = (
    unchanged("llama_4_temperature_is_a_rule",
              "Llama 4's temperature, queries times 0.1 log(floor((i + 1) / floor_scale) + 1) + 1, may be given as a rule.",
              given(softmax(*without(["softcap"]), fit=at_most_keys), score=tempered), queries_tempered),
    unchanged("a_cap_may_be_a_rule", "A cap as a score rule gives the same as the option.",
              with_options(softmax(*without(["softcap"])), softcap=one_of(0.7, 3.0)), cap_as_rule),
    unchanged("alibi_may_be_a_rule", "ALiBi as a score rule with one parameter per head gives the same as the bias.",
              with_options(softmax(*without(["bias"])), bias=lambda rng, p: alibi(slopes(p))), alibi_as_rule),
    Law("a_rule_stands_between_cap_and_bias", "A rule gets the capped scores, and the bias is added to what it gives.",
        with_options(softmax(*without(["bias"])), bias=lambda rng, p: rng.standard_normal(p.full()).astype(p.q.dtype)),
        lambda f, p: plain(f, with_squared(p)), lambda f, p: plain(f, squared_as_bias(p)), terms=exponents),
    Law("a_rule_of_hidden_pairs_has_no_effect", "A rule that is infinite or NaN for hidden pairs gives the same as one that is not.",
        given(softmax(*ALL), causal=True), lambda f, p: plain(f, p.but(score=faded)),
        lambda f, p: plain(f, p.but(score=faded_safely))),
)
