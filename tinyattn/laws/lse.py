"""Laws of the log-sum-exp, for mechanisms that return (out, lse)."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.budget import of_logs
from tinyattn.laws.draw.options import normal, with_options
from tinyattn.laws.draw.softmax import ALL, softmax
from tinyattn.laws.law import Law, outputs, plain
from tinyattn.laws.mean import ONE, SINKLESS, doubled
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.score import raw_scores
from tinyattn.ops.merge import merge
from tinyattn.ops.types import Array


def lse_alone(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the lse."""
    return (p.call(f)[1],)


def summed(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the log of the sum of exp over the visible scores and the sink, term by term."""
    scores = np.where(p.visible(), raw_scores(p) + p.options.get("bias", 0.0), -np.inf)
    sinks = p.options.get("sinks")
    if sinks is not None:
        scores = np.concatenate((scores, np.broadcast_to(sinks[:, None, None], (*scores.shape[:-1], 1))), axis=-1)
    return (np.logaddexp.reduce(scores.astype(np.float64), axis=-1).astype(p.q.dtype),)


def in_two(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns attention to every third key merged with attention to the others."""
    seen = p.visible()
    third = np.arange(p.k.shape[-2]) % 3 == 0
    parts = [p.but(mask=seen & part, causal=False, window=None).call(f) for part in (third, ~third)]
    return outputs(merge(*parts))


def with_log_two(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns (out, lse + log 2)."""
    out, lse = p.call(f)
    return out, lse + np.log(2.0).astype(lse.dtype)


def gated_by_sinks(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result without sinks, gated by sigmoid(lse - sink), and the lse with the sink added to the sum."""
    out, lse = p.but(sinks=None).call(f)
    sinks = p.options["sinks"][:, None]
    both = np.logaddexp(lse, sinks)
    return out * np.exp(lse - both)[..., None], both


LAWS = (
    Law("lse_is_the_log_of_the_sum", "lse is the natural log of the sum of exp(scores), plus exp(sink) if there is a sink.",
        softmax(*ALL, fit=ONE), lse_alone, summed, pool=of_logs),
    Law("parts_merge_to_the_whole", "Attention to some keys, merged with attention to the others, is attention to all.",
        SINKLESS, plain, in_two, pool=of_logs),
    Law("a_key_twice_adds_log_two", "Giving every key and value twice adds log 2 to the lse.", SINKLESS, with_log_two,
        lambda f, p: plain(f, doubled(p)), pool=of_logs),
    Law("a_sink_is_a_gate", "A sink multiplies the output by the gate sigmoid(lse - sink) and is added to the lse once.",
        with_options(softmax("causal", "scale", "softcap", fit=ONE),
                     sinks=normal(lambda p: p.q.shape[-3:-2])),
        plain, gated_by_sinks, pool=of_logs),
)
