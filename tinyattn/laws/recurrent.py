"""Laws of recurrences, whose state decays or is corrected by each token."""

from __future__ import annotations

from functools import partial

import numpy as np

from tinyattn import definitions
from tinyattn.laws.budget import anywhere
from tinyattn.laws.draw.linear import with_decay, with_state
from tinyattn.laws.draw.options import but, long
from tinyattn.laws.forms import agrees, gradients_agree
from tinyattn.laws.general import causal, mixing_laws
from tinyattn.laws.law import Draw, Law
from tinyattn.laws.linear import state_is_carried
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.score import plain
from tinyattn.ops.types import Array


def after_a_token_of_zeros(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the state after one more token of zeros whose gates are 0."""
    def longer(x: Array, axis: int) -> Array:
        return np.concatenate((x, np.zeros_like(np.take(x, [0], axis=axis))), axis=axis)

    gates = {name: longer(p.options[name], axis) for name, axis in p.per_token().items()}
    return (p.but(q=longer(p.q, -2), k=longer(p.k, -2), v=longer(p.v, -2), **gates).call(f, return_state=True)[1],)


def last_state(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the state after all tokens."""
    return (p.call(f, return_state=True)[1],)


def recurrence_laws(draw: Draw) -> tuple[Law, ...]:
    """Returns the laws of every recurrence, on the problems drawn."""
    return (state_is_carried(long(draw)), causal(draw), *mixing_laws(draw))


def waits(draw: Draw) -> Law:
    """Returns the law of padding, for mechanisms whose gates belong to tokens."""
    return Law("a_token_of_zeros_only_waits", "A token whose key, value and gates are 0 leaves the state unchanged.", long(draw),
               last_state, after_a_token_of_zeros)


def forms(name: str) -> dict[str, Mechanism]:
    """Returns the definitions of a mechanism's forms by the suffix of their name."""
    return {form: getattr(definitions, f"{name}_{form}") for form in ("parallel", "recurrent", "chunked")
            if hasattr(definitions, f"{name}_{form}")}


def form_laws(name: str, draw: Draw) -> tuple[Law, ...]:
    """Returns the laws that the other forms of a mechanism give the same outputs, gradients and last states."""
    others = {form: f for form, f in forms(name).items() if f is not getattr(definitions, name)}
    ruled = tuple(law(f"{name}_{form}", f, draw=draw) for form, f in others.items() for law in (agrees, gradients_agree))
    stated = tuple(agrees(f"{name}_{form}_with_its_state", partial(f, return_state=True), draw=but(draw, with_state))
                   for form, f in others.items())
    return (*ruled, *stated, agrees(f"{name}_chunked_by_three", partial(forms(name)["chunked"], chunk=3), draw=draw))


def strong_decay(name: str, draw: Draw) -> Law:
    """Returns the law that a state may decay as fast as one likes."""
    return Law("a_strong_decay_overflows_nowhere",
               "States that decay almost at once give the same as the recurrent form, without overflow.",
               but(draw, with_decay(lambda x: 300.0 * x)), plain, lambda f, p: plain(forms(name)["recurrent"], p), pool=anywhere)
