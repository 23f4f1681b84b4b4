"""Laws that need no oracle, of whatever mixes tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tinyattn.laws.draw import at_least, square
from tinyattn.laws.dtype import laws as dtype_laws
from tinyattn.laws.law import Draw, Law, outputs
from tinyattn.laws.masking import early
from tinyattn.laws.mean import last_of_batch, mixed_outputs, mixed_values
from tinyattn.laws.problem import TOKENS, Mechanism, Problem
from tinyattn.laws.score import plain
from tinyattn.ops.types import Array


def long(draw: Draw) -> Draw:
    """Returns the drawing with as many queries as keys, and four at least."""
    return lambda rng, sizes: draw(rng, square(at_least(kv_len=4)(sizes)))


def grouped(draw: Draw) -> Draw:
    """Returns the drawing with two kv heads at least and two queries a group."""
    return lambda rng, s: draw(rng, at_least(q_len=1)(replace(s, kv_heads=max(s.kv_heads, 2), groups=max(s.groups, 2))))


def later_changed(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The first half when the later half of all tokens is another."""
    late = np.arange(p.k.shape[-2])[:, None] >= p.k.shape[-2] // 2
    one = p.q.dtype.type(1)
    return early(f, p.but(q=np.where(late, p.q + one, p.q), k=np.where(late, -p.k, p.k), v=np.where(late, 3 * p.v, p.v)))


def alone(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Each query head alone, with the keys, values and gates of head h // groups and what is its own."""
    groups = p.q.shape[-3] // p.k.shape[-3]
    outs = []
    for h in range(p.q.shape[-3]):
        g = slice(h // groups, h // groups + 1)
        changes = {}
        for name, x in p.options.items():
            if isinstance(x, np.ndarray) and name in (*TOKENS, "lambda_"):
                axis = 0 if x.ndim == 1 else x.ndim - 3 if x.ndim == p.k.ndim else x.ndim - 2
                own = g if x.shape[axis] == p.k.shape[-3] else slice(h, h + 1)
                changes[name] = x[(*[slice(None)] * axis, own)]
        outs.append(outputs(p.but(q=p.q[..., h : h + 1, :, :], k=p.k[..., g, :, :], v=p.v[..., g, :, :], **changes).call(f))[0])
    return (np.concatenate(outs, axis=-3),)


def last_alone(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """The last sequence alone, with what is its own."""
    changes = {name: x[-1:] for name, x in p.options.items()
               if name in TOKENS and isinstance(x, np.ndarray) and x.ndim >= p.k.ndim - 1}
    return (outputs(p.but(q=p.q[-1:], k=p.k[-1:], v=p.v[-1:], **changes).call(f))[0],)


def three(draw: Draw) -> Draw:
    """Returns the drawing with three sequences."""
    return lambda rng, sizes: draw(rng, replace(sizes, leading=(3,)))


def causal(draw: Draw) -> Law:
    """Returns the law of causality, bit for bit."""
    return Law("later_tokens_change_nothing_earlier", "Other later tokens leave every earlier bit as it was.", long(draw), early,
               later_changed, exact=True)


def laws(draw: Draw, *, heads: bool = True) -> tuple[Law, ...]:
    """Returns the laws of a mechanism on problems drawn so; `heads` where each head is computed alone."""
    by_head = (Law("a_head_reads_its_group", "Every query head alone, with its group's keys and values, gives the same.",
                   grouped(draw), plain, alone),)
    return (Law("linear_in_the_values", "f(2 v - 3 w) is 2 f(v) - 3 f(w).", draw, mixed_values, mixed_outputs),
            Law("a_sequence_alone", "A sequence gives the same alone as in a batch.", three(draw), last_of_batch, last_alone),
            *(by_head if heads else ()), *dtype_laws(draw))
