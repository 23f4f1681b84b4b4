"""Laws of states that fade or are corrected: gates drawn, states carried, heads alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.laws.draw import at_least, square
from tinyattn.laws.dtype import laws as dtype_laws
from tinyattn.laws.law import Draw, Law, outputs
from tinyattn.laws.linear import whole
from tinyattn.laws.masking import early
from tinyattn.laws.mean import mixed_outputs, mixed_values
from tinyattn.laws.problem import TOKENS, Mechanism, Problem, Sizes, arrays
from tinyattn.laws.score import plain
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


def long(draw: Draw) -> Draw:
    """Returns the drawing with as many queries as keys, and four at least."""
    return lambda rng, sizes: draw(rng, square(at_least(kv_len=4)(sizes)))


def in_two(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The first tokens, then the others from the state that the first left: outputs and last state."""
    cut = p.k.shape[-2] // 3
    head, state = p.tokens(slice(None, cut)).call(f, return_state=True)
    tail, last = p.tokens(slice(cut, None)).call(f, return_state=True, initial_state=state)
    return (np.concatenate((head, tail), axis=-2), *outputs(last))


def later_changed(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The first half when the later half of all tokens is another."""
    late = np.arange(p.k.shape[-2])[:, None] >= p.k.shape[-2] // 2
    one = p.q.dtype.type(1)
    return early(f, p.but(q=np.where(late, p.q + one, p.q), k=np.where(late, -p.k, p.k), v=np.where(late, 3 * p.v, p.v)))


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


def grouped(draw: Draw) -> Draw:
    """Returns the drawing with two kv heads at least and two queries a group."""
    return lambda rng, s: draw(rng, replace(s, kv_heads=max(s.kv_heads, 2), groups=max(s.groups, 2)))


def alone(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Each query head alone with the keys, values and gates of head h // groups."""
    groups = p.q.shape[-3] // p.k.shape[-3]
    outs = []
    for h in range(p.q.shape[-3]):
        g = slice(h // groups, h // groups + 1)
        gates = {name: x[g] if x.ndim == 1 else x[..., g, :, :] if x.ndim == p.k.ndim else x[..., g, :]
                 for name, x in p.options.items() if name in TOKENS}
        outs.append(outputs(p.but(q=p.q[..., h : h + 1, :, :], k=p.k[..., g, :, :], v=p.v[..., g, :, :], **gates).call(f))[0])
    return (np.concatenate(outs, axis=-3),)


def laws(draw: Draw) -> tuple[Law, ...]:
    """Returns the laws of a recurrence on problems drawn so."""
    return (
        Law("a_state_carries_all_that_came_before", "The first tokens' state, given to the others, makes the whole.",
            long(draw), whole, in_two),
        Law("linear_in_the_values", "f(2 v - 3 w) is 2 f(v) - 3 f(w).", draw, mixed_values, mixed_outputs),
        Law("later_tokens_change_nothing_earlier", "Other later tokens leave every earlier bit as it was.", long(draw), early,
            later_changed, exact=True),
        Law("a_head_reads_its_group", "Every query head of a group reads the group's state.", grouped(draw), plain, alone),
        *dtype_laws(draw))


def waits(draw: Draw) -> Law:
    """Returns the law of padding, for gates that belong to a token."""
    return Law("a_token_of_zeros_only_waits", "A token with key, value and gates of 0 leaves the state as it was.", long(draw),
               last_state, one_waited)
