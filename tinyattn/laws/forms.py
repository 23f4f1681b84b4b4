"""Laws between forms: another way to compute the same mechanism gives the same outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinyattn.laws.budget import anywhere
from tinyattn.laws.draw.options import on
from tinyattn.laws.draw.sizes import four_tokens
from tinyattn.laws.draw.softmax import ALL, softmax
from tinyattn.laws.gradient import SLOPES, gradients
from tinyattn.laws.law import Draw, Law
from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.laws.score import plain


def agrees(name: str, other: Mechanism, *, draw: Draw | None = None, says: str | None = None, to: str | None = None,
           kind: str = "exact") -> Law:
    """Returns the law that a mechanism equals another form of it, or another mechanism, on the problems drawn.

    `to` is the other mechanism's name, if it has a row of its own, and `kind` says how close both are.
    """
    return Law(f"equals_{name}", says or f"It gives the same as {name}.", softmax(*ALL) if draw is None else draw,
               plain, lambda f, p: plain(other, p), to=to, kind=kind)


def gradients_agree(name: str, other: Mechanism, *, draw: Draw | None = None) -> Law:
    """Returns the law that a mechanism has the gradients of another form."""
    return Law(f"gradients_equal_{name}", f"Its gradients are those of {name}.", SLOPES if draw is None else draw,
               gradients, lambda f, p: gradients(other, p), pool=anywhere)


def form_agrees(name: str, other: Mechanism, draw: Draw, says: str) -> tuple[Law, Law]:
    """Returns the laws that another form has the same outputs and the same gradients, those on four tokens."""
    return agrees(name, other, draw=draw, says=says), gradients_agree(name, other, draw=on(draw, four_tokens))


def invisible(option: str, numbers: tuple[int, ...], draw: Draw) -> Law:
    """Returns the law that a block size, or another number that only divides the work, does not change the result."""
    def sized(number: int) -> Callable[[Mechanism, Problem], Any]:
        return lambda f, p: plain(f, p.but(**{option: number}))

    return Law(f"{option}_is_invisible",
               f"The result does not depend on the {option} size: {', '.join(map(str, numbers))} give the same.", draw,
               lambda f, p: tuple(a for n in numbers for a in sized(n)(f, p)),
               lambda f, p: tuple(a for n in numbers for a in sized(1000)(f, p)))
