"""Laws that hold for every mechanism that mixes tokens, and need no second way to compute it."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.draw.options import long, on
from tinyattn.laws.draw.sizes import shared_heads, three_sequences
from tinyattn.laws.dtype import array_laws
from tinyattn.laws.law import Draw, Law, outputs
from tinyattn.laws.masking import changed_later, early
from tinyattn.laws.mean import last_of_batch, linear_in_the_values
from tinyattn.laws.problem import TOKENS, Mechanism, Problem
from tinyattn.laws.score import plain
from tinyattn.ops.types import Array


def by_head(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the outputs of each query head computed alone, with its own options and the keys, values and gates of its kv head."""
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
    """Returns the result of the last sequence, computed alone with its own options."""
    changes = {name: p.options[name][-1:] for name in p.per_token()}
    return (outputs(p.but(q=p.q[-1:], k=p.k[-1:], v=p.v[-1:], **changes).call(f))[0],)


def causal(draw: Draw) -> Law:
    """Returns the law that a mechanism is causal, bit for bit."""
    return Law("later_tokens_change_nothing_earlier", "Changing later tokens changes no bit of an earlier output.", long(draw), early,
               changed_later, exact=True)


def mixing_laws(draw: Draw, *, heads: bool = True) -> tuple[Law, ...]:
    """Returns the laws that hold for every mixer of tokens, on the problems drawn; `heads` says that heads are independent."""
    heads_alone = (Law("a_head_reads_its_group", "Every query head computed alone with its group's keys and values gives the same.",
                       on(draw, shared_heads), plain, by_head),)
    return (linear_in_the_values(draw),
            Law("a_sequence_alone", "A sequence gives the same alone as in a batch.", on(draw, three_sequences), last_of_batch,
                last_alone),
            *(heads_alone if heads else ()), *array_laws(draw))
