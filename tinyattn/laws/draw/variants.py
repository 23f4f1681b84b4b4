"""Problems of attention with one thing changed: sinks, norms, two maps, gates, a window per head, latent vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.laws.draw.options import but, factor_per_channel, like, logit_per_query, number_per_head, with_options
from tinyattn.laws.draw.softmax import sloped, softmax, without
from tinyattn.laws.problem import Problem, Sizes

SOFTMAX, SLOPES = softmax(*without(["sinks"])), sloped(*without(["sinks"]))
CAUSAL = but(softmax("scale", "softcap"), lambda p: p.but(causal=True))
QK = with_options(SOFTMAX, q_weight=factor_per_channel, k_weight=factor_per_channel)
QK_CAUSAL = with_options(CAUSAL, q_weight=factor_per_channel, k_weight=factor_per_channel)
DIFFERENTIAL, DIFFERENTIAL_SLOPES, DIFFERENTIAL_CAUSAL = (
    with_options(draw, q2=like("q"), k2=like("k"), lambda_=number_per_head) for draw in (SOFTMAX, SLOPES, CAUSAL))
GATED, GATED_CAUSAL = (with_options(draw, gate=logit_per_query) for draw in (SOFTMAX, CAUSAL))
LOCAL = with_options(but(softmax("scale", "softcap", "sinks"), lambda p: p.but(causal=True)),
                     window=lambda rng, p: [int(w) for w in rng.integers(1, 6, p.q.shape[-3])],
                     mode=lambda rng, p: str(rng.choice(["sliding", "block", "look_back"])))


def long_vectors(p: Problem) -> Problem:
    """Returns the problem with queries and keys so long that the norm's epsilon is negligible."""
    return p.but(q=p.q * 2.0 ** 30, k=p.k * 2.0 ** 30, softcap=None, scale=None)


def gates_of(value: float) -> Callable[[Problem], Problem]:
    """Returns the change of a problem that sets all gates to one number."""
    return lambda p: p.but(gate=np.full_like(p.options["gate"], value))


def latent(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws a problem of latent attention: q_nope, latent and k_rope stand for q, k and v."""
    heads, rank, rope, value = sizes.heads, sizes.head_dim + 1, int(rng.integers(0, 3)) * 2, sizes.value_dim
    lead = sizes.leading
    options: dict[str, Any] = {"q_rope": rng.standard_normal((*lead, heads, sizes.q_len, rope)),
                               "w_uk": rng.standard_normal((heads, rank, sizes.head_dim)),
                               "w_uv": rng.standard_normal((heads, rank, value)), "causal": True}
    if rng.random() < 0.5:
        options["scale"] = 0.5
    return Problem(rng.standard_normal((*lead, heads, sizes.q_len, sizes.head_dim)), rng.standard_normal((*lead, sizes.kv_len, rank)),
                   rng.standard_normal((*lead, sizes.kv_len, rope)), options).astype(sizes.dtype)


def selecting(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Draws latents that hold the keys and values of all kv heads, and projections of 0 and 1 that pick each head's own."""
    p = latent(rng, sizes)
    groups, d, e = sizes.kv_heads, sizes.head_dim, sizes.value_dim
    c = rng.standard_normal((*sizes.leading, sizes.kv_len, groups * (d + e))).astype(sizes.dtype)
    w_uk, w_uv = (np.zeros((sizes.heads, groups * (d + e), n), sizes.dtype) for n in (d, e))
    for h in range(sizes.heads):
        at = h // sizes.groups * (d + e)
        w_uk[h, at : at + d], w_uv[h, at + d : at + d + e] = np.eye(d), np.eye(e)
    return p.but(k=c, v=p.v[..., :0], q_rope=p.options["q_rope"][..., :0], w_uk=w_uk, w_uv=w_uv)


def with_joined_queries(p: Problem) -> Problem:
    """Returns a problem of latent attention with both parts of the queries in one array, as a LatentCache takes them."""
    options = {name: option for name, option in p.options.items() if name != "q_rope"}
    return Problem(np.concatenate((p.q, p.options["q_rope"]), axis=-1), p.k, p.v, options)
