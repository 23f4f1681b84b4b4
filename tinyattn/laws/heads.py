"""Laws of heads: which keys a head reads, and how a sink takes part in its softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.laws.draw.options import with_options
from tinyattn.laws.draw.sizes import at_least, shared_heads
from tinyattn.laws.draw.softmax import ALL, softmax, without
from tinyattn.laws.law import Law, outputs, plain, unchanged
from tinyattn.laws.problem import TOKENS, Mechanism, Problem
from tinyattn.ops.types import Array

# The options that have one entry per token, or one number per head.
PER_HEAD = (*TOKENS, "lambda_", "sinks", "ridge", "slopes", "bonus", "offset", "factor")


def of_head(p: Problem, h: int) -> Problem:
    """Returns the problem of one query head: its own options, and the keys, values and gates of kv head h // groups."""
    g, own = h // (p.q.shape[-3] // p.k.shape[-3]), slice(h, h + 1)
    changes: dict[str, Any] = {"q": p.q[..., own, :, :], "k": p.k[..., g : g + 1, :, :], "v": p.v[..., g : g + 1, :, :]}
    for name, x in p.options.items():
        if isinstance(x, np.ndarray) and name in ("mask", "bias"):
            changes[name] = np.broadcast_to(x, p.full())[..., own, :, :]
        elif isinstance(x, np.ndarray) and name in PER_HEAD:
            axis = 0 if x.ndim == 1 else x.ndim - 3 if x.ndim == p.k.ndim else x.ndim - 2
            at = slice(g, g + 1) if x.shape[axis] == p.k.shape[-3] else own
            changes[name] = x[(*[slice(None)] * axis, at)]
    return p.but(**changes)


def by_head(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the outputs of each query head computed alone."""
    return (np.concatenate([outputs(of_head(p, h).call(f))[0] for h in range(p.q.shape[-3])], axis=-3),)


def extra_key(p: Problem) -> Problem:
    """Returns the problem with one more key and value of 0, which every query sees, instead of sinks."""
    pad = [(0, 0)] * (p.k.ndim - 2) + [(0, 1), (0, 0)]
    mask = np.concatenate((p.visible(), np.ones((*p.full()[:-1], 1), bool)), axis=-1)
    changes = {"k": np.pad(p.k, pad), "v": np.pad(p.v, pad), "mask": mask, "causal": False, "window": None, "sinks": None}
    bias = p.options.get("bias")
    if bias is not None:
        changes["bias"] = np.concatenate((np.broadcast_to(bias, p.full()), np.zeros((*p.full()[:-1], 1), p.q.dtype)), axis=-1)
    return p.but(**changes)


SINKS = softmax(*without(["sinks"]), fit=at_least(q_len=1))
LAWS = (
    Law("a_head_reads_its_group", "Query head h reads kv head h // groups, and every head may be computed alone.",
        softmax(*ALL, fit=shared_heads), plain, lambda f, p: by_head(f, p.explicit())),
    unchanged("a_weak_sink_has_no_effect", "A sink far below all scores has no effect.", SINKS,
              lambda p: p.but(sinks=np.full(p.q.shape[-3], -1e4, p.q.dtype))),
    unchanged("a_sink_of_zero_is_a_key_of_zero", "A sink of 0 has the weight of a key of 0 with a value of 0.",
              with_options(SINKS, sinks=lambda rng, p: np.zeros(p.q.shape[-3], p.q.dtype)), extra_key),
)
