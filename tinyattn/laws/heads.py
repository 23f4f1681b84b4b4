"""Laws of heads: which keys a head reads, and how a sink takes part in its softmax."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.draw.options import with_options
from tinyattn.laws.draw.sizes import at_least, shared_heads
from tinyattn.laws.draw.softmax import ALL, softmax, without
from tinyattn.laws.law import Law, outputs
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.score import plain
from tinyattn.ops.types import Array


def by_head(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the outputs of each query head computed alone, with the keys and values of kv head h // groups."""
    groups = p.q.shape[-3] // p.k.shape[-3]
    seen, outs = p.visible(), []
    for h in range(p.q.shape[-3]):
        g = slice(h // groups, h // groups + 1)
        changes = {"q": p.q[..., h : h + 1, :, :], "k": p.k[..., g, :, :], "v": p.v[..., g, :, :],
                   "mask": seen[..., h : h + 1, :, :], "causal": False, "window": None}
        bias = p.options.get("bias")
        if bias is not None:
            changes["bias"] = np.broadcast_to(bias, p.full())[..., h : h + 1, :, :]
        if p.options.get("sinks") is not None:
            changes["sinks"] = p.options["sinks"][h : h + 1]
        outs.append(outputs(p.but(**changes).call(f))[0])
    return (np.concatenate(outs, axis=-3),)


def weak_sinks(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result with sinks so low that their weight is 0."""
    return outputs(p.but(sinks=np.full(p.q.shape[-3], -1e4, p.q.dtype)).call(f))


def extra_key(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result with one more key and value of 0, which every query sees, instead of sinks."""
    pad = [(0, 0)] * (p.k.ndim - 2) + [(0, 1), (0, 0)]
    mask = np.concatenate((p.visible(), np.ones((*p.full()[:-1], 1), bool)), axis=-1)
    changes = {"k": np.pad(p.k, pad), "v": np.pad(p.v, pad), "mask": mask, "causal": False, "window": None, "sinks": None}
    bias = p.options.get("bias")
    if bias is not None:
        changes["bias"] = np.concatenate((np.broadcast_to(bias, p.full()), np.zeros((*p.full()[:-1], 1), p.q.dtype)), axis=-1)
    return outputs(p.but(**changes).call(f))


SINKS = softmax(*without(["sinks"]), fit=at_least(q_len=1))
LAWS = (
    Law("a_head_reads_its_group", "Query head h reads kv head h // groups, and every head may be computed alone.",
        softmax(*ALL, fit=shared_heads), plain, by_head),
    Law("a_weak_sink_is_none", "A sink far below all scores has no effect.", SINKS, plain, weak_sinks),
    Law("a_sink_of_zero_is_a_key_of_zero", "A sink of 0 has the weight of a key of 0 with a value of 0.",
        with_options(SINKS, sinks=lambda rng, p: np.zeros(p.q.shape[-3], p.q.dtype)), plain, extra_key),
)
