"""The rule table: one row per NumPy function: its gradient, or why there is none."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tinyattn.engine.arguments import tensor_kind
from tinyattn.engine.call import Call, name_of, signature_of
from tinyattn.engine.record import value_of
from tinyattn.engine.row import Derivation, Row

ROWS: dict[Any, Callable[[tuple[Any, ...], dict[str, Any]], Any]] = {}
KINDS: dict[Any, tuple[str, str]] = {}


def rule(function: Any, *makers: Callable[..., Any] | None, body: Callable[..., Any] | None = None,
         arrays: str | None = None, sequences: str = "", honours: str = "", only: str = "", widens: bool = True,
         like: Callable[..., Any] | None = None) -> None:
    """Adds the row of a function that has a gradient, by its makers or by its body. The value is always NumPy's own.

    **Makers**, one per differentiable argument, take arguments of the call and return the function from `g`, the
    gradient of the result, to the gradient of the argument:

        rule(np.multiply, lambda b: lambda g: g * b, lambda a: lambda g: g * a)
        rule(np.flip, lambda axis=None: lambda g: np.flip(g, axis))

    A maker has parameters for what it needs, under NumPy's names, and nothing else is kept for the walk back; `result`
    is the result. None stands for an argument that has no gradient. The inner function of an argument that is a
    sequence of arrays takes `(g, i)` and returns the gradient of array i. For a function of several results `g` is the
    list of their gradients, None for those that were not used. The walk undoes broadcasting and changes of dtype.

    A **body** is the function written with others that have rows; it runs in the walk back, which then goes through it:

        rule(np.ptp, body=lambda a, axis=None: np.max(a, axis) - np.min(a, axis))

    `arrays` names the parameters that are arrays (if not said, the first ones, as many as there are makers),
    `sequences` those that are sequences of arrays, and `honours` those of `call.NEVER` that the row honours. `only`
    names the one argument that the result depends on: without a Tensor there, it is a plain array. Without `widens`
    makers see float16 and bfloat16 as they are, otherwise as float32. `like` is a function with the same parameters, for
    NumPy functions whose parameters can be read only from NumPy 2.4 on.
    """
    names = [name for f in (body, *makers) if f for name in inspect.signature(f).parameters]
    signature = inspect.signature(like) if like else signature_of(function, names)
    if arrays is None:
        arrays = "" if sequences else " ".join(list(signature.parameters)[: max(len(makers), 1)])
    call = Call(function, signature, arrays, sequences, honours)
    derivations = [f and Derivation(f, call, widens=widens) for f in (body, *makers)]
    by_name = dict(zip(f"{arrays} {sequences}".split(), derivations[1:], strict=False))
    ROWS[function] = Row(function, call, by_name, derivations[0], only=only)
    KINDS[function] = "differentiable", "a rule of its own" if body is None else "written with functions that have rules"


def with_rule(*makers: Callable[..., Any], widens: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function of ours so that it takes Tensors as NumPy's functions do, by a row with these makers."""
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        def dispatch(*args: Any) -> Any:
            return ROWS[function](args, {}) if tensor_kind() in map(type, args) else function(*args)

        rule(function, *makers, widens=widens)
        dispatch.__name__, dispatch.__doc__ = function.__name__, function.__doc__
        return dispatch

    return add


def constant(reason: str, *functions: Any) -> None:
    """Adds rows for functions whose result does not vary with their argument, or is not a real number."""
    for function in functions:
        ROWS[function] = lambda args, options, function=function: value_of(function, args, options)  # type: ignore[misc]
        KINDS[function] = "constant", reason


def refused(reason: str, *functions: Any) -> None:
    """Adds rows that raise a TypeError with the reason."""
    for function in functions:
        def row(args: tuple[Any, ...], options: dict[str, Any], function: Any = function) -> Any:
            raise TypeError(f"{name_of(function)} on a Tensor: {reason}")

        ROWS[function], KINDS[function] = row, ("refused", reason)
