"""Laws of the log-sum-exp, for mechanisms that give (out, lse)."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.budget import logs
from tinyattn.laws.draw import at_least, softmax, without
from tinyattn.laws.law import Law, outputs
from tinyattn.laws.mean import doubled
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.score import plain, raw_scores
from tinyattn.ops.merge import merge
from tinyattn.ops.types import Array


def lse_alone(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The lse."""
    return (p.call(f)[1],)


def summed(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Log of the sum of exp over the visible scores and the sink, term by term."""
    scores = np.where(p.visible(), raw_scores(p) + p.options.get("bias", 0.0), -np.inf)
    sinks = p.options.get("sinks")
    if sinks is not None:
        scores = np.concatenate((scores, np.broadcast_to(sinks[:, None, None], (*scores.shape[:-1], 1))), axis=-1)
    return (np.logaddexp.reduce(scores.astype(np.float64), axis=-1).astype(p.q.dtype),)


def in_two(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Every third key by itself and the others by themselves, merged."""
    seen = p.visible()
    third = np.arange(p.k.shape[-2]) % 3 == 0
    parts = [p.but(mask=seen & part, causal=False, window=None).call(f) for part in (third, ~third)]
    return outputs(merge(*parts))


def with_log_two(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """(out, lse + log 2)."""
    out, lse = p.call(f)
    return out, lse + np.log(2.0).astype(lse.dtype)


def gated(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Without sinks, gated by sigmoid(lse - sink) afterwards; lse joined with the sink."""
    out, lse = p.but(sinks=None).call(f)
    sinks = p.options["sinks"][:, None]
    joined = np.logaddexp(lse, sinks)
    return out * np.exp(lse - joined)[..., None], joined


ONE = at_least(q_len=1, kv_len=2)
LAWS = (
    Law("lse_is_the_log_of_the_sum", "lse is the natural log of the sum of exp(scores), the sink's included.",
        softmax("causal", "window", "mask", "bias", "scale", "softcap", "sinks", fit=ONE), lse_alone, summed,
        pool=logs),
    Law("parts_merge_to_the_whole", "Attention over some keys merged with attention over the others is that over all.",
        softmax(*without(["sinks"]), fit=ONE), plain, in_two, pool=logs),
    Law("a_key_twice_adds_log_two", "Every key twice adds log 2 to the lse.", softmax(*without(["sinks"]), fit=ONE),
        with_log_two, doubled, pool=logs),
    Law("a_sink_is_a_gate", "A sink is a gate sigmoid(lse - sink) on the output, counted once.",
        lambda rng, s: softmax("causal", "scale", "softcap", fit=ONE)(rng, s).but(sinks=rng.standard_normal(s.heads).astype(s.dtype)),
        plain, gated, pool=logs),
)
