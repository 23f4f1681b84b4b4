"""Laws of a weighted mean: of values, by keys in any order, each head and sequence alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyattn.laws.draw import ALL, at_least, softmax, without
from tinyattn.laws.law import Law, outputs
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain
from tinyattn.ops.types import Array


def some_rows(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Values of one constant, read by the queries that see something."""
    out = outputs(p.but(v=np.full_like(p.v, 1.5)).call(f))[0]
    return (out[p.visible().any(axis=-1)],)


def constants(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """That constant."""
    return (np.full((int(p.visible().any(axis=-1).sum()), p.v.shape[-1]), 1.5, p.q.dtype),)


def outside(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """How far the output is above the largest visible value and below the smallest."""
    out = outputs(p.call(f))[0]
    values = np.repeat(p.v, p.q.shape[-3] // p.k.shape[-3], axis=-3)[..., None, :, :]
    seen = p.visible()[..., None]
    high = np.max(np.where(seen, values, -np.inf), axis=-2, initial=-np.inf)
    low = np.min(np.where(seen, values, np.inf), axis=-2, initial=np.inf)
    some = np.expand_dims(np.any(seen, axis=(-1, -2)), -1)
    over = np.where(some, np.maximum(out - np.where(some, high, 0), 0) + np.maximum(np.where(some, low, 0) - out, 0), 0)
    # Far outside is told apart, within rounding of the hull is not: the budget is that of the output itself.
    return (np.where(over > 1e-2 * np.maximum(np.abs(out), 1e-3), over, 0.0).astype(p.q.dtype),)


def reversed_keys(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The keys in reverse order."""
    return outputs(p.reordered(np.arange(p.k.shape[-2])[::-1]).call(f))


def doubled(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Every key and value twice."""
    twice = {"k": np.repeat(p.k, 2, axis=-2), "v": np.repeat(p.v, 2, axis=-2)}
    same = p.explicit()
    twice["mask"] = np.repeat(same.options["mask"], 2, axis=-1)
    bias = p.options.get("bias")
    if bias is not None:
        twice["bias"] = np.repeat(np.broadcast_to(bias, p.full()), 2, axis=-1)
    return outputs(same.but(**twice).call(f))


def last_of_batch(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The last sequence of the batch, out of all."""
    return (outputs(p.call(f))[0][-1:],)


def alone(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """That sequence alone."""
    part = {name: np.asarray(p.options[name])[-1:] for name in ("mask", "bias")
            if p.options.get(name) is not None and np.ndim(p.options[name]) == p.q.ndim}
    return (outputs(p.but(q=p.q[-1:], k=p.k[-1:], v=p.v[-1:], **part).call(f))[0],)


def mixed_values(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """f(2 v - 3 w)."""
    return outputs(p.but(v=2.0 * p.v - 3.0 * p.v[..., ::-1, :]).call(f))


def mixed_outputs(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """2 f(v) - 3 f(w)."""
    first, second = outputs(p.call(f))[0], outputs(p.but(v=p.v[..., ::-1, :]).call(f))[0]
    return (2.0 * first - 3.0 * second,)


def reversed_queries(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The queries in reverse order, their outputs put back."""
    return (outputs(p.but(q=p.q[..., ::-1, :]).call(f))[0][..., ::-1, :],)


def batched(sizes: Sizes) -> Sizes:
    """Returns the sizes with three sequences."""
    return replace(sizes, leading=(3,))


ONE = at_least(q_len=1, kv_len=2)
LAWS = (
    Law("equal_values_give_that_value", "Values that are all c give c wherever something is seen, but for a sink.",
        softmax(*without(["sinks"]), fit=ONE), some_rows, constants),
    Law("within_the_hull", "An output lies between the smallest and the largest visible value.",
        softmax(*without(["sinks"]), fit=ONE), outside, lambda f, p: (np.zeros(p.q.shape[:-1] + p.v.shape[-1:], p.q.dtype),)),
    Law("linear_in_the_values", "f(2 v - 3 w) is 2 f(v) - 3 f(w).", softmax(*ALL, fit=ONE), mixed_values, mixed_outputs),
    Law("keys_have_no_order", "Keys, values, mask and bias in another order give the same.", softmax(*ALL, fit=ONE), plain,
        reversed_keys, reorder=True),
    Law("queries_do_not_see_each_other", "Queries in another order give their outputs in that order.",
        softmax("scale", "softcap", "sinks", fit=ONE), plain, reversed_queries),
    Law("a_key_twice_weighs_the_same", "Every key twice gives the same, but for a sink.", softmax(*without(["sinks"]), fit=ONE),
        plain, doubled),
    Law("a_sequence_alone", "A sequence gives the same alone as in a batch.",
        lambda rng, s: softmax(*ALL, fit=ONE)(rng, batched(s)), last_of_batch, alone),
)
