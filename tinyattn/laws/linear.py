"""Laws of linear attention and its states."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.draw.linear import always, directions, linear, positive
from tinyattn.laws.draw.options import but
from tinyattn.laws.law import Draw, Law, outputs
from tinyattn.laws.masking import changed_later, early, last_query
from tinyattn.laws.mean import linear_in_the_values
from tinyattn.laws.problem import Mechanism, Problem, repeat_heads
from tinyattn.laws.score import plain
from tinyattn.ops.types import Array


def in_two_parts(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns outputs and last state when the later tokens start from the state after the first ones."""
    cut = p.k.shape[-2] // 3
    head, state = p.tokens(slice(None, cut)).call(f, return_state=True)
    tail, last = p.tokens(slice(cut, None)).call(f, return_state=True, initial_state=state)
    return (np.concatenate((head, tail), axis=-2), *outputs(last))


def with_last_state(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns outputs and last state for all tokens at once."""
    return outputs(p.call(f, return_state=True))


def backwards(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result with keys and values in reverse order."""
    return outputs(p.but(k=p.k[..., ::-1, :], v=p.v[..., ::-1, :]).call(f))


def ones(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result for values of 1."""
    return outputs(p.but(v=np.ones_like(p.v)).call(f))


def first_token(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the first query's output."""
    return (outputs(p.call(f))[0][..., :1, :],)


def first_value(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the first value, for every query head that of its group."""
    return (repeat_heads(p.q, p.v)[0][..., :1, :],)


def appended_zeros(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result when two tokens with features of 0 are appended."""
    pad = [(0, 0)] * (p.k.ndim - 2) + [(0, 2), (0, 0)]
    return outputs(p.but(k=np.pad(p.k, pad), v=np.pad(p.v, pad, constant_values=1.0), causal=False).call(f))


SEEDS, SIGMAS = 300, 6.0


def within_sigmas(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns for every pair whether the products of random features, averaged over many draws, are exp of the score."""
    small, size = p.but(q=0.3 * p.q, k=0.3 * p.k, causal=False, normalize=False), p.k.shape[-2]
    each = small.but(v=np.broadcast_to(np.eye(size, dtype=p.q.dtype), (*p.k.shape[:-1], size)))
    drawn = np.stack([each.call(f, projection=directions(p.q.shape[-1], p.q.shape[-1], seed)) for seed in range(SEEDS)])
    exact = np.exp(small.q @ small.k.mT * p.q.shape[-1] ** -0.5)
    return (np.abs(drawn.mean(axis=0) - exact) <= SIGMAS * drawn.std(axis=0) / SEEDS ** 0.5 + 1e-5,)


def true_everywhere(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns True for every pair."""
    return (np.ones((*p.q.shape[:-1], p.k.shape[-2]), bool),)


def state_is_carried(draw: Draw) -> Law:
    """Returns the law that a state holds all that later tokens need of the earlier ones."""
    return Law("a_state_carries_all_that_came_before",
               "Later tokens that start from the state after the first ones give the same as all tokens at once.", draw,
               with_last_state, in_two_parts)


LAWS = (
    state_is_carried(always(causal=True)),
    Law("a_token_sees_itself", "The first token reads its own value: a token is written into the state before the state is read.",
        always(causal=True, normalize=True), first_token, first_value),
    Law("equal_values_give_that_value", "Normalised weights sum to 1.", but(linear, lambda p: p.but(normalize=True)), ones,
        lambda f, p: (np.ones((*p.q.shape[:-1], p.v.shape[-1]), p.q.dtype),)),
    linear_in_the_values(linear),
    Law("the_last_row_sees_all", "The last query gives the same with causal and without.", always(causal=True), last_query,
        lambda f, p: last_query(f, p.but(causal=False))),
    Law("keys_have_no_order", "Without causal, keys and values in another order give the same.",
        but(linear, lambda p: p.but(causal=False)), plain, backwards),
    Law("later_tokens_change_nothing_earlier", "With causal, changing later tokens changes no bit of an earlier output.",
        always(causal=True), early, changed_later, exact=True),
    Law("a_head_reads_its_group", "Keys and values repeated for every query head give the same as shared ones.", linear, plain,
        lambda f, p: plain(f, p.repeated())),
    Law("a_query_has_no_length", "With normalisation, the length of a query's features has no effect.", positive, plain,
        lambda f, p: outputs(p.but(q=p.q * 3.0).call(f))),
    Law("no_features_no_trace", "A token whose features are 0 changes nothing.",
        but(positive, lambda p: p.but(causal=False)), plain, appended_zeros),
)
