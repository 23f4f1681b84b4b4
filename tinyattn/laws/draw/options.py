"""Drawings made of other drawings: on other sizes, with more options, or with each problem changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.laws.draw.sizes import Fit, at_least, both, fixed, square
from tinyattn.laws.law import Draw
from tinyattn.laws.problem import Problem, Sizes

Make = Callable[[np.random.Generator, Problem], Any]


def on(draw: Draw, fit: Fit) -> Draw:
    """Returns the drawing on changed sizes."""
    return lambda rng, sizes: draw(rng, fit(sizes))


def but(draw: Draw, change: Callable[[Problem], Problem], fit: Fit = lambda sizes: sizes) -> Draw:
    """Returns the drawing with every problem changed, for example to a limit in which a mechanism is a simpler one."""
    return lambda rng, sizes: change(draw(rng, fit(sizes)))


def with_options(draw: Draw, **make: Make) -> Draw:
    """Returns the drawing with more options, each made from the generator and the problem."""
    def drawn(rng: np.random.Generator, sizes: Sizes) -> Problem:
        p = draw(rng, sizes)
        return p.but(**{name: one(rng, p) for name, one in make.items()})

    return drawn


def given(draw: Draw, **options: Any) -> Draw:
    """Returns the drawing with these options always given."""
    return but(draw, lambda p: p.but(**options))


def long(draw: Draw, least: int = 4, **sizes: Any) -> Draw:
    """Returns the drawing with as many queries as keys, at least `least` of each; other sizes may be given too."""
    return on(draw, both(at_least(kv_len=least), fixed(**sizes), square))


def plain_values(draw: Draw) -> Draw:
    """Returns the drawing with plain numbers: where a softmax saturates, the budget of a float64 gradient would be 0."""
    return on(draw, fixed(regime="plain"))


def one_of(*choices: Any) -> Make:
    """Returns a maker that picks one of these values."""
    return lambda rng, p: choices[int(rng.integers(len(choices)))]


def normal(shape: Callable[[Problem], tuple[int, ...]]) -> Make:
    """Returns a maker of an array of normal numbers, whose shape follows from the problem."""
    return lambda rng, p: rng.standard_normal(shape(p)).astype(p.q.dtype)


def uniform(shape: Callable[[Problem], tuple[int, ...]], least: float = 0.0) -> Make:
    """Returns a maker of an array of numbers from `least` to `least` + 1, whose shape follows from the problem."""
    return lambda rng, p: (least + rng.random(shape(p))).astype(p.q.dtype)


def like(name: str) -> Make:
    """Returns a maker of an array of the shape of q, k or v."""
    return normal(lambda p: getattr(p, name).shape)
