"""Laws of gradients, for mechanisms that take Tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.grad import vjp
from tinyattn.laws.budget import anywhere
from tinyattn.laws.draw.options import normal, with_options
from tinyattn.laws.draw.sizes import shared_heads
from tinyattn.laws.draw.softmax import ALL, sloped, softmax, without
from tinyattn.laws.law import Law
from tinyattn.laws.masking import hidden_draw, unseen_poisoned
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array


def floating(p: Problem) -> dict[str, Array]:
    """Returns q, k, v and the floating options by name: the arrays that have a gradient."""
    return {"q": p.q, "k": p.k, "v": p.v, **{n: x for n, x in p.options.items() if isinstance(x, np.ndarray) and x.dtype.kind == "f"}}


def gradients(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns d_q, d_k, d_v and the gradients of all floating options, for a fixed d_out."""
    out, pullback = vjp(lambda t: first(p.but(**t).call(f)), floating(p))
    return tuple(pullback(d_out_of(out)).values())


def d_out_of(out: Array) -> Array:
    """Returns the gradient of an output that all of these laws use."""
    return np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype)


def first(out: Any) -> Any:
    """Returns the first result, the output."""
    return out[0] if isinstance(out, tuple) else out


def of_keys_and_values(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the gradients of keys and values."""
    return gradients(f, p)[1:3]


def group_sums(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the gradients of keys and values repeated for every head, summed over each group."""
    return tuple(g.reshape(*p.k.shape[:-2], -1, *g.shape[-2:]).sum(axis=-3) for g in of_keys_and_values(f, p.repeated()))


def q_times_its_gradient(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns q . d_q, summed over each kv head."""
    return (np.sum(gradients(f, p)[0] * p.q, axis=(-1, -2)).reshape(*p.k.shape[:-2], -1).sum(axis=-1),)


def k_times_its_gradient(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns k . d_k, summed over each kv head."""
    return (np.sum(gradients(f, p)[1] * p.k, axis=(-1, -2)),)


def v_times_its_gradient(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns v . d_v, summed over everything."""
    return (np.asarray(np.sum(gradients(f, p)[2] * p.v)),)


def out_times_its_gradient(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns out . d_out, summed over everything."""
    out = np.asarray(first(p.call(f)))
    return (np.asarray(np.sum(out * d_out_of(out))),)


def size_of_terms(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns how large a term of d_out . v may be: a sum that cancels is as exact as its terms are."""
    return (np.full(p.q.shape[:-1], np.max(np.abs(p.v), initial=0.0) * p.v.shape[-1], p.q.dtype),)


def summed_over_keys(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the gradient of a bias per pair, summed over the keys, plus the size of the terms of that sum."""
    return (gradients(f, p)[3].sum(axis=-1) + size_of_terms(f, p)[0],)


def poisoned_gradients(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the gradients when keys and values that no query sees hold NaN or inf."""
    return gradients(f, unseen_poisoned(p))


SLOPES = sloped(*ALL)
BIASED = with_options(sloped(*without(["sinks", "bias"])), bias=normal(Problem.full))
LAWS = (
    Law("d_k_is_the_sum_over_its_group", "The gradient of shared keys and values is the sum over the heads that share them.",
        softmax(*ALL, fit=shared_heads), of_keys_and_values, group_sums, pool=anywhere),
    Law("queries_and_keys_share_a_slope",
        "For every kv head, q . d_q summed over its queries equals k . d_k summed over its keys.", SLOPES, q_times_its_gradient,
        k_times_its_gradient, pool=anywhere),
    Law("the_values_slope_is_the_output", "The sum of v . d_v equals the sum of out . d_out.", SLOPES, v_times_its_gradient,
        out_times_its_gradient, pool=anywhere),
    Law("a_shift_of_scores_has_no_slope", "Without sinks, the gradients of all scores of a query sum to 0.", BIASED,
        summed_over_keys, size_of_terms, pool=anywhere),
    Law("the_unseen_leaves_gradients_alone", "NaN in places that no query sees changes no gradient.", hidden_draw, gradients,
        poisoned_gradients, pool=anywhere),
)
