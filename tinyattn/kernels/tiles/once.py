"""Primitives of the kernels have a first derivative only, and say so."""

from __future__ import annotations

from typing import Any, NoReturn, ParamSpec, TypeVar

from tinyattn.engine.primitive import Primitive

P = ParamSpec("P")
R = TypeVar("R")


def once(primitive: Primitive[P, R]) -> Primitive[P, R]:
    """Returns a primitive that refuses a second derivative in the names of the public functions."""
    return primitive.again(refuse)


def refuse(*_: Any) -> NoReturn:
    """Raises the TypeError of a second derivative."""
    raise TypeError("a function of tinyattn.kernels has a first derivative only; the function of the same name in tinyattn can "
                    "be differentiated again")
