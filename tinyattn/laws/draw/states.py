"""Problems of further states: slopes per head, a bonus per channel, exponential gates, and limits in which they are simpler."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinyattn.laws.draw.linear import CHANNELS, HEADS, gated
from tinyattn.laws.draw.options import but, normal, with_options
from tinyattn.laws.law import Draw
from tinyattn.laws.problem import Problem
from tinyattn.ops.types import Array


def sloped(p: Problem) -> Problem:
    """Returns the problem of a decay per head with slopes in the place of its log decays."""
    return p.without("log_decay").but(slopes=-p.options["log_decay"])


def logits(*means: float) -> Callable[[np.random.Generator, Problem], Array]:
    """Returns a maker of gates per token: normal numbers of a small or a large spread around one of the means."""
    return lambda rng, p: (rng.choice(means) + rng.choice((0.3, 3.0)) * rng.standard_normal(p.k.shape[:-1])).astype(p.q.dtype)


def taps(rng: np.random.Generator, p: Problem) -> Array:
    """Draws one to four taps per channel."""
    return rng.standard_normal((p.v.shape[-3], p.v.shape[-1], int(rng.integers(1, 5)))).astype(p.q.dtype)


SLOPES = but(HEADS, sloped)
BONUS = with_options(CHANNELS, bonus=normal(lambda p: (p.k.shape[-3], p.k.shape[-1])))
TAPS = with_options(gated(), weight=taps, bias=normal(lambda p: (p.v.shape[-3], p.v.shape[-1])))
EXPONENTIAL: Draw = with_options(gated(), input_gate=logits(0.0, 3.0), forget_gate=logits(0.0, 3.0))


def with_slopes(factor: float) -> Callable[[Problem], Problem]:
    """Returns the change of a problem that multiplies its slopes."""
    return lambda p: p.but(slopes=p.options["slopes"] * factor)


def plain_sums(p: Problem) -> Problem:
    """Returns the problem without decay and with a bonus of 1."""
    return p.but(log_decay=np.zeros_like(p.options["log_decay"]), bonus=np.ones_like(p.options["bonus"]))


def open_gates(p: Problem) -> Problem:
    """Returns the problem with positive features that sum to more than 1, written with strength 1 and never forgotten."""
    gate = np.zeros_like(p.options["input_gate"])
    return p.but(q=np.abs(p.q) + 1, k=np.abs(p.k) + 1, input_gate=gate, forget_gate=gate + 40)


def extreme_gates(p: Problem) -> Problem:
    """Returns the problem with gates so large that their exponentials overflow, and so small that they are 0."""
    return p.but(input_gate=p.options["input_gate"] * 300, forget_gate=p.options["forget_gate"] * 300)


def with_memory(p: Problem) -> Problem:
    """Returns the problem with an initial state, its normaliser and its maximum, and with the last state asked for."""
    shape = (*p.k.shape[:-2], p.k.shape[-1], p.v.shape[-1])
    waves = [np.cos(np.arange(np.prod(sizes))).reshape(sizes).astype(p.q.dtype) for sizes in (shape, shape[:-1], shape[:-2])]
    return p.but(initial_state=tuple(waves), return_state=True)


def moved_memory(p: Problem) -> Problem:
    """Returns the problem with the same initial state relative to another maximum."""
    state, total, largest = p.options["initial_state"]
    return p.but(initial_state=(state * np.exp(-2).astype(p.q.dtype), total * np.exp(-2).astype(p.q.dtype), largest + 2))


def with_inputs(p: Problem) -> Problem:
    """Returns the problem of a convolution with the inputs before its first, and with the last inputs asked for."""
    shape = (*p.v.shape[:-3], p.v.shape[-3] * p.v.shape[-1], p.options["weight"].shape[-1] - 1)
    return p.but(initial_state=np.cos(np.arange(np.prod(shape))).reshape(shape).astype(p.q.dtype), return_state=True)


def own_tap(p: Problem) -> Problem:
    """Returns the problem with taps of 1 for the token itself and 0 for the others, and no bias."""
    last = np.arange(p.options["weight"].shape[-1]) == p.options["weight"].shape[-1] - 1
    return p.but(weight=np.zeros_like(p.options["weight"]) + last, bias=None).astype(p.q.dtype)


def taps_of_1(p: Problem) -> Problem:
    """Returns the problem with a tap of 1 for every token of the text, and no bias."""
    return p.but(weight=np.ones((p.v.shape[-3], p.v.shape[-1], max(p.v.shape[-2], 1)), p.q.dtype), bias=None)
