"""Laws of linear attention and its states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.laws.draw import at_least, both, square
from tinyattn.laws.law import Law, outputs
from tinyattn.laws.masking import changed_later, early
from tinyattn.laws.mean import mixed_outputs, mixed_values
from tinyattn.laws.problem import Mechanism, Problem, Sizes, arrays
from tinyattn.laws.score import plain
from tinyattn.ops.types import Array


def draw(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A problem, causal or not, normalised or not, of at most as many queries as keys, not too spiky for elu + 1."""
    sizes = at_least(q_len=1)(replace(sizes, q_len=min(sizes.q_len, sizes.kv_len),
                                      regime="plain" if sizes.regime in ("spiky", "offset", "flat") else sizes.regime))
    options = {"causal": bool(rng.random() < 0.6), "normalize": bool(rng.random() < 0.6)}
    return arrays(rng, sizes, **options)


def always(**given: Any) -> Any:
    """Returns the drawing with these options set, as many queries as keys."""
    return lambda rng, sizes: draw(rng, both(at_least(kv_len=4), square)(sizes)).but(**given)


def in_two(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The first tokens, then the others from the state that the first left: outputs and last state."""
    cut = p.k.shape[-2] // 3
    parts = [Problem(p.q[..., s, :], p.k[..., s, :], p.v[..., s, :], p.options) for s in (slice(None, cut), slice(cut, None))]
    head, state = parts[0].call(f, return_state=True)
    tail, last = parts[1].call(f, return_state=True, initial_state=state)
    return (np.concatenate((head, tail), axis=-2), *outputs(last))


def whole(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """All tokens at once: outputs and last state."""
    return outputs(p.call(f, return_state=True))


def repeated(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Keys and values repeated for every head."""
    groups = p.q.shape[-3] // p.k.shape[-3]
    return outputs(p.but(k=np.repeat(p.k, groups, axis=-3), v=np.repeat(p.v, groups, axis=-3)).call(f))


def last_row(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The last query's row."""
    return (outputs(p.call(f))[0][..., -1:, :],)


def backwards(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Keys and values in reverse order."""
    return outputs(p.but(k=p.k[..., ::-1, :], v=p.v[..., ::-1, :]).call(f))


def positive(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """Features given ready, all positive."""
    p = draw(rng, sizes).but(feature_map=None, normalize=True)
    return p.but(q=np.abs(p.q) + 0.1, k=np.abs(p.k) + 0.1)


def ones(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Values of 1."""
    return outputs(p.but(v=np.ones_like(p.v)).call(f))


def first_token(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The first row."""
    return (outputs(p.call(f))[0][..., :1, :],)


def first_value(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The first value, of every head's group."""
    return (np.repeat(p.v, p.q.shape[-3] // p.k.shape[-3], axis=-3)[..., :1, :],)


def appended_zeros(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The state after tokens of 0 features behind all others."""
    pad = [(0, 0)] * (p.k.ndim - 2) + [(0, 2), (0, 0)]
    return outputs(p.but(k=np.pad(p.k, pad), v=np.pad(p.v, pad, constant_values=1.0), causal=False).call(f))


LAWS = (
    Law("a_state_carries_all_that_came_before", "The first tokens' state, given to the others, makes the whole.",
        always(causal=True), whole, in_two),
    Law("a_token_sees_itself", "The first token reads its own value: it is written before it is read.",
        always(causal=True, normalize=True), first_token, first_value),
    Law("equal_values_give_that_value", "Normalised weights add up to 1.", lambda r, s: draw(r, s).but(normalize=True), ones,
        lambda f, p: (np.ones((*p.q.shape[:-1], p.v.shape[-1]), p.q.dtype),)),
    Law("linear_in_the_values", "f(2 v - 3 w) is 2 f(v) - 3 f(w).", draw, mixed_values, mixed_outputs),
    Law("the_last_row_sees_all", "The last causal row is the last row without causal.", always(causal=True), last_row,
        lambda f, p: last_row(f, p.but(causal=False))),
    Law("keys_have_no_order", "Without causal, keys and values in another order give the same.",
        lambda r, s: draw(r, s).but(causal=False), plain, backwards),
    Law("later_tokens_change_nothing_earlier", "Under causal, other later tokens leave every earlier bit as it was.",
        always(causal=True), early, changed_later, exact=True),
    Law("a_head_reads_its_group", "Shared keys and values are the same as repeated ones.", draw, plain, repeated),
    Law("a_query_has_no_length", "Normalised, a longer feature of the query gives the same.", positive, plain,
        lambda f, p: outputs(p.but(q=p.q * 3.0).call(f))),
    Law("no_features_no_trace", "A token whose features are 0 changes nothing.",
        lambda r, s: positive(r, s).but(causal=False), plain, appended_zeros),
)
