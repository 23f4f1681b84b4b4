"""Laws of what a score is: scale, then cap, then bias, then mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.draw import ALL, at_least, softmax, without
from tinyattn.laws.law import Law, outputs
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array


def plain(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The call itself."""
    return outputs(p.call(f))


def raw_scores(p: Problem) -> Array:
    """Returns scale q . k with the cap, (..., heads, i, j), in float64."""
    groups = p.q.shape[-3] // p.k.shape[-3]
    keys = np.repeat(p.k, groups, axis=-3).astype(np.float64)
    scale = p.options.get("scale")
    scores = p.q.astype(np.float64) @ keys.mT * (p.q.shape[-1] ** -0.5 if scale is None else scale)
    cap = p.options.get("softcap")
    capped: Array = scores if cap is None else cap * np.tanh(scores / cap)
    return capped


def spelled(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Queries of 0, and the capped scores plus bias given as a bias."""
    bias = raw_scores(p) + p.options.get("bias", 0.0)
    return outputs(p.but(q=p.q * 0.0, bias=bias.astype(p.q.dtype), softcap=None, scale=1.0).call(f))


def shifted_rows(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """A constant a row added to the bias."""
    rows = np.linspace(-2.0, 2.0, p.q.shape[-2])[:, None].astype(p.q.dtype)
    return outputs(p.but(bias=p.options.get("bias", np.zeros((), p.q.dtype)) + rows).call(f))


def masked_by_bias(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The visible pairs given as a bias of 0, the others as one of -inf."""
    bias: Any = np.where(p.visible(), p.options.get("bias", 0.0), -np.inf).astype(p.q.dtype)
    return outputs(p.but(bias=bias, mask=None, causal=False, window=None).call(f))


LAWS = (
    Law("scores_are_scale_cap_bias_in_that_order",
        "Scores are scaled, then capped, then the bias is added: spelled out as a bias they give the same.",
        softmax(*ALL), plain, spelled),
    Law("default_scale_is_the_root_of_head_dim", "No scale is head_dim ** -0.5.",
        softmax(*without(["scale"]), fit=at_least(head_dim=2, kv_len=2)), plain,
        lambda f, p: outputs(p.but(scale=p.q.shape[-1] ** -0.5).call(f))),
    Law("scale_multiplies_the_query", "Twice the query at half the scale is the same.", softmax(*ALL), plain,
        lambda f, p: outputs(p.but(q=p.q * 2.0, scale=0.5 * (p.options.get("scale") or p.q.shape[-1] ** -0.5)).call(f))),
    Law("a_row_may_shift", "A constant added to all scores of a query changes nothing, but for a sink.",
        softmax(*without(["sinks"])), plain, shifted_rows),
    Law("keys_may_shift", "One vector added to all keys changes nothing, but for cap and sink.",
        softmax(*without(["sinks", "softcap"])), plain, lambda f, p: outputs(p.but(k=p.k + 0.5).call(f))),
    Law("a_huge_cap_is_none", "A cap far above all scores is none.", softmax(*without(["softcap"])), plain,
        lambda f, p: outputs(p.but(softcap=1e30).call(f))),
    Law("hidden_is_a_bias_of_minus_infinity", "Hiding a pair is a bias of -inf on it.", softmax(*ALL), plain,
        masked_by_bias),
)
