"""Laws of states that fade or are corrected: gates drawn, states carried, heads alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.laws.draw import at_least
from tinyattn.laws.general import causal, long
from tinyattn.laws.general import laws as general
from tinyattn.laws.law import Draw, Law, outputs
from tinyattn.laws.linear import whole
from tinyattn.laws.problem import TOKENS, Mechanism, Problem, Sizes, arrays
from tinyattn.ops.types import Array


def gated(*gates: str, channels: bool = False, heads: bool = False) -> Draw:
    """Returns the drawing of problems with these gates: log decays a token, a channel or a head; write strengths."""
    def draw(rng: np.random.Generator, sizes: Sizes) -> Problem:
        sizes = at_least(q_len=1)(replace(sizes, q_len=min(sizes.q_len, sizes.kv_len), regime="plain"))
        shape: tuple[int, ...] = (*sizes.leading, sizes.kv_heads, sizes.kv_len)
        options: dict[str, Any] = {}
        if "log_decay" in gates:
            shape_of = (sizes.kv_heads,) if heads else (*shape, sizes.head_dim) if channels else shape
            options["log_decay"] = -rng.choice((0.1, 1.0, 5.0)) * rng.random(shape_of)
        if "beta" in gates:
            options["beta"] = rng.random(shape)
        p = arrays(rng, replace(sizes, dtype="float64"), **options)
        # The delta rule is stable for beta |k|^2 of at most 2: keys of at most length 1.
        return p.but(k=p.k / (1.0 + np.linalg.norm(p.k, axis=-1, keepdims=True))).astype(sizes.dtype)

    return draw


def in_two(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The first tokens, then the others from the state that the first left: outputs and last state."""
    cut = p.k.shape[-2] // 3
    head, state = p.tokens(slice(None, cut)).call(f, return_state=True)
    tail, last = p.tokens(slice(cut, None)).call(f, return_state=True, initial_state=state)
    return (np.concatenate((head, tail), axis=-2), *outputs(last))


def one_waited(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The state after one more token of zeros with gates of 0."""
    def longer(x: Array, axis: int) -> Array:
        return np.concatenate((x, np.zeros_like(np.take(x, [0], axis=axis))), axis=axis)

    gates = {name: longer(x, -2 if x.ndim == p.k.ndim else -1) for name, x in p.options.items()
             if name in TOKENS and x.ndim >= p.k.ndim - 1}
    return (p.but(q=longer(p.q, -2), k=longer(p.k, -2), v=longer(p.v, -2), **gates).call(f, return_state=True)[1],)


def last_state(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The state after all tokens."""
    return (p.call(f, return_state=True)[1],)


def laws(draw: Draw) -> tuple[Law, ...]:
    """Returns the laws of a recurrence on problems drawn so."""
    return (
        Law("a_state_carries_all_that_came_before", "The first tokens' state, given to the others, makes the whole.",
            long(draw), whole, in_two),
        causal(draw), *general(draw))


def waits(draw: Draw) -> Law:
    """Returns the law of padding, for gates that belong to a token."""
    return Law("a_token_of_zeros_only_waits", "A token with key, value and gates of 0 leaves the state as it was.", long(draw),
               last_state, one_waited)
