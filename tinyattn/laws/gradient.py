"""Laws of gradients, for mechanisms that take Tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.engine.grad import vjp
from tinyattn.laws.budget import whole
from tinyattn.laws.draw import ALL, at_least, softmax, without
from tinyattn.laws.heads import many
from tinyattn.laws.law import Draw, Law
from tinyattn.laws.masking import hidden_draw, unseen_poisoned
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.ops.types import Array


def gradients(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns d_q, d_k, d_v and those of every floating option, for a fixed d_out."""
    named = {"q": p.q, "k": p.k, "v": p.v, **{n: x for n, x in p.options.items()
                                              if isinstance(x, np.ndarray) and x.dtype.kind == "f"}}
    out, pullback = vjp(lambda t: first(p.but(**t).call(f)), named)
    d_out = np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype)
    return tuple(pullback(d_out).values())


def first(out: Any) -> Any:
    """Returns out of (out, lse)."""
    return out[0] if isinstance(out, tuple) else out


def grouped(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The gradient of keys and values."""
    return gradients(f, p)[1:3]


def group_sums(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Keys and values repeated for every head, their gradients added up over each group."""
    groups = p.q.shape[-3] // p.k.shape[-3]
    repeated = p.but(k=np.repeat(p.k, groups, axis=-3), v=np.repeat(p.v, groups, axis=-3))
    return tuple(g.reshape(*g.shape[:-3], p.k.shape[-3], groups, *g.shape[-2:]).sum(axis=-3)
                 for g in gradients(f, repeated)[1:3])


def euler_q(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Q . d_q, added up for each kv head."""
    per_head = np.sum(gradients(f, p)[0] * p.q, axis=(-1, -2))
    return (per_head.reshape(*per_head.shape[:-1], p.k.shape[-3], -1).sum(axis=-1),)


def euler_k(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """K . d_k, added up for each kv head."""
    return (np.sum(gradients(f, p)[1] * p.k, axis=(-1, -2)),)


def euler_v(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """V . d_v, all added up."""
    return (np.asarray(np.sum(gradients(f, p)[2] * p.v)),)


def euler_out(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Out . d_out, all added up."""
    out = np.asarray(first(p.call(f)))
    return (np.asarray(np.sum(out * np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype))),)


def summed_size(p: Problem) -> Array:
    """Returns how large a term of d_out . v may be: a sum that cancels is as exact as its terms, not as itself."""
    return np.full(p.q.shape[:-1], np.max(np.abs(p.v), initial=0.0) * p.v.shape[-1], p.q.dtype)


def score_sums(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The gradient of a full bias, added up over the keys, beside the size of its terms."""
    return (gradients(f, p)[3].sum(axis=-1) + summed_size(p),)


def no_slopes(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """That size alone."""
    return (summed_size(p),)


def biased(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A problem with a bias of its own for every pair, and no sink."""
    p = SLOPES_WITHOUT_SINKS(rng, sizes)
    return p.but(bias=rng.standard_normal(p.full()).astype(p.q.dtype))


def sloped(*names: str) -> Draw:
    """Returns the drawing of problems whose gradients are not 0 throughout: some query sees more than one key.

    A budget in float64 is that of float32, scaled. Where float32 saturates (a weight of exactly 1, a cap's slope of
    exactly 0) it would be none at all: in float64 such problems are not drawn.
    """
    inner = softmax(*names, fit=ONE)

    def draw(rng: np.random.Generator, sizes: Sizes) -> Problem:
        saturated = sizes.dtype == "float64" and sizes.regime in ("spiky", "offset")
        p = inner(rng, replace(sizes, regime="plain") if saturated else sizes)
        return p if p.visible().sum(axis=-1).max() > 1 else p.but(window=None, mask=None, causal=False)

    return draw


ONE = at_least(q_len=2, kv_len=3)
SLOPES = sloped(*ALL)
SLOPES_WITHOUT_SINKS = sloped(*without(["sinks", "bias"]))
LAWS = (
    Law("d_k_is_the_sum_over_its_group", "The gradient of shared keys and values is the sum over the heads that share them.",
        softmax(*ALL, fit=many), grouped, group_sums, pool=whole),
    Law("queries_and_keys_share_a_slope", "q . d_q equals k . d_k for each kv head.", SLOPES, euler_q, euler_k, pool=whole),
    Law("the_values_slope_is_the_output", "v . d_v equals out . d_out.", SLOPES, euler_v, euler_out, pool=whole),
    Law("a_shift_of_scores_has_no_slope", "The gradient of a row of scores adds up to 0, but for a sink.", biased, score_sums,
        no_slopes, pool=whole),
    Law("the_unseen_leaves_gradients_alone", "NaN where nobody looks changes no gradient.", hidden_draw, gradients,
        lambda f, p: unseen_poisoned(lambda q, k, v, **o: gradients(f, Problem(q, k, v, o)), p), pool=whole),
)
