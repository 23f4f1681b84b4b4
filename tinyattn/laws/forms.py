"""Laws between forms: another way to compute the same, outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.laws.budget import whole
from tinyattn.laws.draw import ALL, softmax
from tinyattn.laws.gradient import SLOPES, gradients
from tinyattn.laws.law import Draw, Law
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.laws.score import plain


def agrees(name: str, other: Mechanism, *, draw: Draw | None = None, says: str | None = None, to: str | None = None,
           kind: str = "exact", outs: int | None = None) -> Law:
    """Returns the law that a mechanism gives what another form, or another mechanism, gives on problems drawn so.

    `to` is the other mechanism's name, where it is one, `kind` how it is tied to it; `outs` how many results are compared.
    """
    return Law(f"equals_{name}", says or f"It gives what {name} gives.", softmax(*ALL) if draw is None else draw,
               lambda f, p: plain(f, p)[:outs], lambda f, p: plain(other, p)[:outs], to=to, kind=kind)


def but(draw: Draw, change: Callable[[Problem], Problem], fit: Callable[[Sizes], Sizes] = lambda sizes: sizes) -> Draw:
    """Returns the drawing, each problem changed: to a limit, say, in which a mechanism is a simpler one."""
    return lambda rng, sizes: change(draw(rng, fit(sizes)))


def slopes_agree(name: str, other: Mechanism, *, draw: Draw | None = None) -> Law:
    """Returns the law that a mechanism's gradients are those of another form."""
    return Law(f"gradients_equal_{name}", f"Its gradients are those of {name}.", SLOPES if draw is None else draw,
               gradients, lambda f, p: gradients(other, p), pool=whole)


def invisible(option: str, numbers: tuple[int, ...], draw: Draw) -> Law:
    """Returns the law that a block or chunk size changes nothing."""
    def sized(number: int) -> Callable[[Mechanism, Problem], Any]:
        return lambda f, p: plain(f, p.but(**{option: number}))

    def drawn(rng: np.random.Generator, sizes: Sizes) -> Problem:
        return draw(rng, sizes)

    return Law(f"{option}_is_invisible", f"No {option} size changes the result: {', '.join(map(str, numbers))}.", drawn,
               lambda f, p: tuple(a for n in numbers for a in sized(n)(f, p)),
               lambda f, p: tuple(a for n in numbers for a in sized(1000)(f, p)))
