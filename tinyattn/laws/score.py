"""Laws of scores: they are scaled, then capped, then the bias is added, then hidden pairs are removed."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.draw import ALL, at_least, softmax, without
from tinyattn.laws.law import unchanged
from tinyattn.laws.problem import Problem, repeat_heads
from tinyattn.ops.types import Array


def raw_scores(p: Problem) -> Array:
    """Returns the scaled and capped scores, (..., heads, i, j), in float64."""
    scores = p.q.astype(np.float64) @ repeat_heads(p.q, p.k)[0].astype(np.float64).mT * p.scale
    cap = p.options.get("softcap")
    capped: Array = scores if cap is None else cap * np.tanh(scores / cap)
    return capped


def scores_as_bias(p: Problem) -> Problem:
    """Returns the problem with queries of 0 and the capped scores added to the bias."""
    bias = raw_scores(p) + p.options.get("bias", 0.0)
    return p.but(q=p.q * 0.0, bias=bias.astype(p.q.dtype), softcap=None, scale=1.0)


def shifted_rows(p: Problem) -> Problem:
    """Returns the problem with one constant per query added to the bias."""
    rows = np.linspace(-2.0, 2.0, p.q.shape[-2])[:, None].astype(p.q.dtype)
    return p.but(bias=p.options.get("bias", np.zeros((), p.q.dtype)) + rows)


def masked_by_bias(p: Problem) -> Problem:
    """Returns the problem with a bias of -inf on every hidden pair instead of masks."""
    bias: Any = np.where(p.visible(), p.options.get("bias", 0.0), -np.inf).astype(p.q.dtype)
    return p.but(bias=bias, mask=None, causal=False, window=None)


LAWS = (
    unchanged("scores_are_scale_cap_bias_in_that_order",
              "Scores are scaled, then capped, then the bias is added: computed by hand in this order, and given as a bias, they "
              "give the same outputs.",
              softmax(*ALL), scores_as_bias),
    unchanged("default_scale_is_the_root_of_head_dim", "Without a scale, head_dim ** -0.5 is used.",
              softmax(*without(["scale"]), fit=at_least(head_dim=2, kv_len=2)), lambda p: p.but(scale=p.q.shape[-1] ** -0.5)),
    unchanged("scale_multiplies_the_query", "Doubling the queries and halving the scale changes nothing.", softmax(*ALL),
              lambda p: p.but(q=p.q * 2.0, scale=0.5 * p.scale)),
    unchanged("a_row_may_shift", "Without sinks, adding a constant to all scores of a query changes nothing.",
              softmax(*without(["sinks"])), shifted_rows),
    unchanged("keys_may_shift", "Without a cap and sinks, adding one vector to all keys changes nothing.",
              softmax(*without(["sinks", "softcap"])), lambda p: p.but(k=p.k + 0.5)),
    unchanged("a_huge_cap_has_no_effect", "A cap far above all scores has no effect.", softmax(*without(["softcap"])),
              lambda p: p.but(softcap=1e30)),
    unchanged("hidden_is_a_bias_of_minus_infinity", "Hiding a pair has the same effect as a bias of -inf on it.", softmax(*ALL),
              masked_by_bias),
)
