"""The sides of laws of further states: decays that are not read, scales that are a factor of the queries, tokens that only wait."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.law import outputs, plain
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array


def later_decay(p: Problem) -> Problem:
    """Returns the problem with the last token's decay changed."""
    last = np.arange(p.k.shape[-2]) == p.k.shape[-2] - 1
    return p.but(log_decay=np.where(last[:, None], p.options["log_decay"] - 1, p.options["log_decay"]))


def of_scaled_queries(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the result for queries multiplied by 0.3."""
    return plain(f, p.but(q=p.q * p.q.dtype.type(0.3)))


def only_output(f: Mechanism, p: Problem) -> tuple[Array, ...]:
    """Returns the outputs without the state."""
    return outputs(p.call(f))[:1]


def shut_after(p: Problem) -> Problem:
    """Returns the problem with one more token, which is not written and forgets nothing."""
    def longer(x: Array, last: Array) -> Array:
        return np.concatenate((x, last), axis=-1)

    some = np.ones_like(p.options["input_gate"][..., :1])
    q, k, v = (np.concatenate((x, x[..., :1, :]), axis=-2) for x in (p.q, p.k, p.v))
    return p.but(q=q, k=k, v=v, input_gate=longer(p.options["input_gate"], -np.inf * some),
                 forget_gate=longer(p.options["forget_gate"], np.inf * some))
