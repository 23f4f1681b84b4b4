"""Laws of linear attention, and of recurrences whose state decays or is corrected by each token."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tinyattn import definitions
from tinyattn.laws.budget import anywhere
from tinyattn.laws.draw.linear import always, directions, linear, positive, with_decay, with_state
from tinyattn.laws.draw.options import but, given, long, on
from tinyattn.laws.draw.sizes import at_least
from tinyattn.laws.general import agrees, form_agrees, mixing_laws
from tinyattn.laws.law import Draw, Law, outputs, plain, unchanged
from tinyattn.laws.masking import causal, last_query
from tinyattn.laws.mean import linear_in_the_values
from tinyattn.laws.oracles.delta import as_generalized
from tinyattn.laws.problem import Mechanism, Problem, repeat_heads
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


def ones(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result for values of 1."""
    return outputs(p.but(v=np.ones_like(p.v)).call(f))


def first_token(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the first query's output."""
    return (outputs(p.call(f))[0][..., :1, :],)


def first_value(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the first value, for every query head that of its group."""
    return (repeat_heads(p.q, p.v)[0][..., :1, :],)


def appended_zeros(p: Problem) -> Problem:
    """Returns the problem with two more tokens, whose features are 0."""
    pad = [(0, 0)] * (p.k.ndim - 2) + [(0, 2), (0, 0)]
    return p.but(k=np.pad(p.k, pad), v=np.pad(p.v, pad, constant_values=1.0))


def is_generalized(draw: Draw, how: str) -> Law:
    """Returns the law that a state mechanism is the generalized delta rule with certain arguments."""
    return agrees("generalized_delta_rule", as_generalized, draw=draw, to="generalized_delta_rule",
                  says=f"It is the generalized delta rule with {how}.")


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
    Law("equal_values_give_that_value", "Normalised weights sum to 1.", given(linear, normalize=True), ones,
        lambda f, p: (np.ones((*p.q.shape[:-1], p.v.shape[-1]), p.q.dtype),)),
    linear_in_the_values(linear),
    Law("the_last_row_sees_all", "The last query gives the same with causality and without.", always(causal=True), last_query,
        lambda f, p: last_query(f, p.but(causal=False))),
    unchanged("keys_have_no_order", "Without causality, keys and values in another order give the same outputs.",
              given(linear, causal=False), lambda p: p.but(k=p.k[..., ::-1, :], v=p.v[..., ::-1, :])),
    causal(always(causal=True)),
    unchanged("a_head_reads_its_group", "Keys and values repeated for every query head give the same as shared ones.", linear,
              Problem.repeated),
    unchanged("a_query_has_no_length", "With normalisation, the length of a query's features has no effect.", positive,
              lambda p: p.but(q=p.q * 3.0)),
    unchanged("no_features_no_trace", "A token whose features are 0 changes nothing.", given(positive, causal=False), appended_zeros),
)


def with_a_token_of_zeros(p: Problem) -> Problem:
    """Returns the problem with one more token of zeros, whose gates are 0."""
    def longer(x: Array, axis: int) -> Array:
        return np.concatenate((x, np.zeros_like(np.take(x, [0], axis=axis))), axis=axis)

    gates = {name: longer(p.options[name], axis) for name, axis in p.per_token().items()}
    return p.but(q=longer(p.q, -2), k=longer(p.k, -2), v=longer(p.v, -2), **gates)


def last_state(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the state after all tokens."""
    return outputs(p.call(f, return_state=True)[1])


def recurrence_laws(draw: Draw) -> tuple[Law, ...]:
    """Returns the laws of every recurrence, on the problems drawn."""
    return (state_is_carried(long(draw)), causal(draw), *mixing_laws(draw))


def waits(draw: Draw) -> Law:
    """Returns the law of padding, for mechanisms whose gates belong to tokens."""
    return Law("a_token_of_zeros_only_waits", "A token whose key, value and gates are 0 leaves the state unchanged.", long(draw),
               last_state, lambda f, p: last_state(f, with_a_token_of_zeros(p)))


def forms(name: str) -> dict[str, Mechanism]:
    """Returns the definitions of a mechanism's forms by the suffix of their name."""
    return {form: getattr(definitions, f"{name}_{form}") for form in ("parallel", "recurrent", "chunked")
            if hasattr(definitions, f"{name}_{form}")}


def form_laws(name: str, draw: Draw, stated: Callable[[Problem], Problem] = with_state) -> tuple[Law, ...]:
    """Returns the laws that the other forms of a mechanism give the same outputs, gradients and last states.

    `stated` gives a problem an initial state, and asks for the last one.
    """
    others = {form: f for form, f in forms(name).items() if f is not getattr(definitions, name)}
    several = on(draw, at_least(kv_len=2))  # the decay of a single token has no gradient but 0
    ruled = tuple(law for form, f in others.items()
                  for law in form_agrees(f"{name}_{form}", f, draw, f"Its {form} form gives the same outputs.", slopes=several))
    states = tuple(agrees(f"{name}_{form}_with_its_state", partial(f, return_state=True), draw=but(draw, stated),
                          says=f"From the same initial state, its {form} form gives the same output and the same last state.")
                   for form, f in others.items())
    return (*ruled, *states, agrees(f"{name}_chunked_by_three", partial(forms(name)["chunked"], chunk=3), draw=draw,
                                    says="Its chunked form gives the same with chunks of three tokens."))


def strong_decay(name: str, draw: Draw) -> Law:
    """Returns the law that no decay is too strong."""
    return Law("a_strong_decay_overflows_nowhere",
               "States that decay almost at once give the same as the recurrent form, without overflow.",
               but(draw, with_decay(lambda x: 300.0 * x)), plain, lambda f, p: plain(forms(name)["recurrent"], p), pool=anywhere)
