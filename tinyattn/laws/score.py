"""Laws of scores: they are scaled, then capped, then the bias is added, then hidden pairs are removed."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.draw import ALL, at_least, softmax, without
from tinyattn.laws.law import Law, outputs
from tinyattn.laws.problem import Mechanism, Problem, repeat_heads
from tinyattn.ops.types import Array


def plain(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns what the mechanism gives for the problem."""
    return outputs(p.call(f))


def raw_scores(p: Problem) -> Array:
    """Returns the scaled and capped scores, (..., heads, i, j), in float64."""
    keys = repeat_heads(p.q, p.k)[0].astype(np.float64)
    scale = p.options.get("scale")
    scores = p.q.astype(np.float64) @ keys.mT * (p.q.shape[-1] ** -0.5 if scale is None else scale)
    cap = p.options.get("softcap")
    capped: Array = scores if cap is None else cap * np.tanh(scores / cap)
    return capped


def scores_as_bias(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result for queries of 0 with the capped scores added to the bias."""
    bias = raw_scores(p) + p.options.get("bias", 0.0)
    return outputs(p.but(q=p.q * 0.0, bias=bias.astype(p.q.dtype), softcap=None, scale=1.0).call(f))


def shifted_rows(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result with one constant per query added to the bias."""
    rows = np.linspace(-2.0, 2.0, p.q.shape[-2])[:, None].astype(p.q.dtype)
    return outputs(p.but(bias=p.options.get("bias", np.zeros((), p.q.dtype)) + rows).call(f))


def masked_by_bias(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result with a bias of -inf on every hidden pair instead of masks."""
    bias: Any = np.where(p.visible(), p.options.get("bias", 0.0), -np.inf).astype(p.q.dtype)
    return outputs(p.but(bias=bias, mask=None, causal=False, window=None).call(f))


LAWS = (
    Law("scores_are_scale_cap_bias_in_that_order",
        "Scores are scaled, then capped, then the bias is added: computed in this order and given as a bias, they give the same.",
        softmax(*ALL), plain, scores_as_bias),
    Law("default_scale_is_the_root_of_head_dim", "Without a scale, head_dim ** -0.5 is used.",
        softmax(*without(["scale"]), fit=at_least(head_dim=2, kv_len=2)), plain,
        lambda f, p: outputs(p.but(scale=p.q.shape[-1] ** -0.5).call(f))),
    Law("scale_multiplies_the_query", "Doubling the queries and halving the scale changes nothing.", softmax(*ALL), plain,
        lambda f, p: outputs(p.but(q=p.q * 2.0, scale=0.5 * (p.options.get("scale") or p.q.shape[-1] ** -0.5)).call(f))),
    Law("a_row_may_shift", "Without sinks, adding a constant to all scores of a query changes nothing.",
        softmax(*without(["sinks"])), plain, shifted_rows),
    Law("keys_may_shift", "Without a cap and sinks, adding one vector to all keys changes nothing.",
        softmax(*without(["sinks", "softcap"])), plain, lambda f, p: outputs(p.but(k=p.k + 0.5).call(f))),
    Law("a_huge_cap_is_none", "A cap far above all scores has no effect.", softmax(*without(["softcap"])), plain,
        lambda f, p: outputs(p.but(softcap=1e30).call(f))),
    Law("hidden_is_a_bias_of_minus_infinity", "Hiding a pair has the same effect as a bias of -inf on it.", softmax(*ALL), plain,
        masked_by_bias),
)
