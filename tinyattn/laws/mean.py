"""Laws of a weighted mean: it is linear in the values, keys have no order, every sequence is computed alone."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.budget import Outputs
from tinyattn.laws.draw.options import on
from tinyattn.laws.draw.sizes import at_least, fixed
from tinyattn.laws.draw.softmax import ALL, softmax, without
from tinyattn.laws.law import Draw, Law, outputs, plain, unchanged
from tinyattn.laws.problem import Mechanism, Problem, repeat_heads
from tinyattn.ops.types import Array


def equal_values(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the outputs for values that all equal 1.5, of the queries that see a key."""
    return (outputs(p.but(v=np.full_like(p.v, 1.5)).call(f))[0][p.visible().any(axis=-1)],)


def constants(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns 1.5 for the same queries."""
    return (np.full((int(p.visible().any(axis=-1).sum()), p.v.shape[-1]), 1.5, p.q.dtype),)


def outside(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns how far the output is above the largest visible value or below the smallest."""
    out = outputs(p.call(f))[0]
    values = repeat_heads(p.q, p.v)[0][..., None, :, :]
    seen = p.visible()[..., None]
    high = np.max(np.where(seen, values, -np.inf), axis=-2, initial=-np.inf)
    low = np.min(np.where(seen, values, np.inf), axis=-2, initial=np.inf)
    some = np.expand_dims(np.any(seen, axis=(-1, -2)), -1)
    over = np.where(some, np.maximum(out - np.where(some, high, 0), 0) + np.maximum(np.where(some, low, 0) - out, 0), 0)
    # An excess within rounding counts as 0: where the law holds both sides are 0, and so would their budget be.
    return (np.where(over > 1e-2 * np.maximum(np.abs(out), 1e-3), over, 0.0).astype(p.q.dtype),)


def doubled(p: Problem) -> Problem:
    """Returns the problem with every key and value given twice."""
    same, bias = p.explicit(), p.options.get("bias")
    twice = {"k": np.repeat(p.k, 2, axis=-2), "v": np.repeat(p.v, 2, axis=-2), "mask": np.repeat(same.options["mask"], 2, axis=-1)}
    if bias is not None:
        twice["bias"] = np.repeat(np.broadcast_to(bias, p.full()), 2, axis=-1)
    return same.but(**twice)


def last_of_batch(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result of the last sequence, computed in the batch."""
    return (outputs(p.call(f))[0][-1:],)


def last_alone(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result of the last sequence, computed alone with its own options."""
    own = [*p.per_token(), *(name for name in ("mask", "bias") if getattr(p.options.get(name), "ndim", 0) == p.q.ndim)]
    return (outputs(p.but(q=p.q[-1:], k=p.k[-1:], v=p.v[-1:], **{name: p.options[name][-1:] for name in own}).call(f))[0],)


def a_sequence_alone(draw: Draw) -> Law:
    """Returns the law that a sequence is computed alone."""
    return Law("a_sequence_alone", "A sequence gives the same alone as in a batch.", on(draw, fixed(leading=(3,))), last_of_batch,
               last_alone)


def mixed_values(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns f(2 v - 3 w)."""
    return outputs(p.but(v=2.0 * p.v - 3.0 * p.v[..., ::-1, :]).call(f))


def mixed_outputs(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns 2 f(v) - 3 f(w)."""
    first, second = outputs(p.call(f))[0], outputs(p.but(v=p.v[..., ::-1, :]).call(f))[0]
    return (2.0 * first - 3.0 * second,)


def both_sizes(f: Mechanism, p: Problem, _found: Outputs) -> Outputs:
    """Returns 2 |f(v)| + 3 |f(w)|, whose difference is as exact as they are."""
    first, second = outputs(p.call(f))[0], outputs(p.but(v=p.v[..., ::-1, :]).call(f))[0]
    return (2.0 * np.abs(first) + 3.0 * np.abs(second),)


def linear_in_the_values(draw: Draw) -> Law:
    """Returns the law of linearity."""
    return Law("linear_in_the_values", "The output is linear in the values: f(2 v - 3 w) is 2 f(v) - 3 f(w).", draw, mixed_values,
               mixed_outputs, terms=both_sizes)


def reversed_queries(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result with the queries in reverse order, put back in order."""
    return (outputs(p.but(q=p.q[..., ::-1, :]).call(f))[0][..., ::-1, :],)


ONE = at_least(q_len=1, kv_len=2)
SINKLESS = softmax(*without(["sinks"]), fit=ONE)
LAWS = (
    Law("equal_values_give_that_value", "Without sinks, values that all equal c give c for every query that sees a key.", SINKLESS,
        equal_values, constants),
    Law("within_the_hull", "Without sinks, an output lies between the smallest and the largest visible value.", SINKLESS, outside,
        lambda f, p: (np.zeros(p.q.shape[:-1] + p.v.shape[-1:], p.q.dtype),)),
    linear_in_the_values(softmax(*ALL, fit=ONE)),
    unchanged("keys_have_no_order", "Keys, values, mask and bias in another order give the same outputs.", softmax(*ALL, fit=ONE),
              lambda p: p.reordered(np.arange(p.k.shape[-2])[::-1]), reorder=True),
    Law("queries_do_not_see_each_other", "Queries in another order give their outputs in that order.",
        softmax("scale", "softcap", "sinks", fit=ONE), plain, reversed_queries),
    unchanged("a_key_twice_weighs_the_same", "Without sinks, giving every key and value twice changes nothing.", SINKLESS, doubled),
    a_sequence_alone(softmax(*ALL, fit=ONE)),
)
