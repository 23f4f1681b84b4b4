"""The rule table: one row a NumPy function, saying how its gradient is had, or why there is none."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.arguments import own, plain, tensor_kind, tensors_in
from tinyattn.engine.graph import CONSTANT, PLAIN, Node, Parts, mode, part_of

ROWS: dict[Any, Callable[[tuple[Any, ...], dict[str, Any]], Any]] = {}
KINDS: dict[Any, tuple[str, str]] = {}
_METHODS = {("reduce", np.add): np.sum, ("reduce", np.multiply): np.prod, ("reduce", np.maximum): np.max,
            ("reduce", np.minimum): np.min, ("accumulate", np.add): np.cumsum,
            ("accumulate", np.multiply): np.cumprod}

def name_of(function: Any) -> str:
    """Returns the public name of a NumPy function, as a user would type it."""
    module = getattr(function, "__module__", None) or ""
    prefix = "np.linalg." if "linalg" in module else "np.fft." if "fft" in module else "np."
    return f"{prefix if isinstance(function, np.ufunc) or module.startswith('numpy') else ''}{function.__name__}"


def record(value: Any, parents: Sequence[Node], make: Callable[[Any], Callable[[Any], Sequence[Any]]],
           *, needs_result: bool = False) -> Any:
    """Returns the Tensor of a computed value; `make(result)` gives its pullback, one gradient a parent."""
    value = np.asarray(value)
    if mode.current is CONSTANT or not parents:
        return tensor_kind().of(value, None)
    # The pullback may close over the result, never over the node: a cycle would outlive its last user.
    result = tensor_kind().of(value, None) if needs_result else None
    return tensor_kind().of(value, Node(value.shape, value.dtype, tuple(parents), make(result), result))


def rule(function: Any, *makers: Callable[..., Callable[[Any], Any]] | None) -> None:
    """Adds a row: for each argument, from the call's arguments, the function from `g` to its gradient.

    `rule(np.multiply, lambda a, b: lambda g: g * b, lambda a, b: lambda g: g * a)`. The inner function is all
    that is kept for the walk back, so a row remembers just what it mentions. A row whose first parameter is
    called `out` also gets the result. None stands for an argument that has no gradient. Broadcasting and dtype are
    the walk's business.
    """
    signatures = [inspect.signature(maker).parameters for maker in makers if maker is not None]
    wants = [maker is not None and next(iter(inspect.signature(maker).parameters), "") == "out" for maker in makers]
    known = set(signatures[0])

    def row(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        value = function(*[plain(a) for a in args], **options)
        if mode.current is PLAIN:
            return value
        for option in options:
            if option not in known:
                raise TypeError(f"{name_of(function)}: {option}= has no gradient; use .value there if none is needed")
        here = [i for i, a in enumerate(args) if type(a) is tensor_kind() and a.node is not None]
        for i in here:
            if i >= len(makers) or makers[i] is None:
                raise no_rule(function, i)
        if not here or mode.current is CONSTANT:
            return record(value, (), lambda result: lambda g: ())
        kept = [own(a) for a in args]

        def make(result: Any) -> Callable[[Any], Sequence[Any]]:
            pulls = []
            for i in here:
                maker = makers[i]
                if maker is not None:
                    pulls.append(maker(result, *kept, **options) if wants[i] else maker(*kept, **options))
            if len(pulls) == 1:
                only = pulls[0]
                return lambda g: (only(g),)
            return lambda g: [pull(g) for pull in pulls]

        return record(value, [args[i].node for i in here], make, needs_result=any(wants[i] for i in here))

    ROWS[function], KINDS[function] = row, ("differentiable", "a row of its own")


def joint(function: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a row for a function of many arrays: from the arguments, the function from `g` to all gradients.

    Decorates `maker(*args, **options)`, which returns the pullback giving one gradient for each Tensor among the
    arguments (looking into lists), in order.
    """
    def add(maker: Callable[..., Callable[[Any], Sequence[Any]]]) -> Callable[..., Any]:
        def row(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
            value = function(*[plain(a) for a in args], **options)
            if mode.current is PLAIN:
                return value
            found = tensors_in(args)
            live = [i for i, t in enumerate(found) if t.node is not None]
            if not live or mode.current is CONSTANT:
                return record(value, (), lambda result: lambda g: ())
            pull = maker(*[own(a) for a in args], **options)
            if len(live) == len(found):
                return record(value, [t.node for t in found], lambda result: pull)

            def some(g: Any) -> Sequence[Any]:
                every = pull(g)
                return [every[i] for i in live]

            return record(value, [found[i].node for i in live], lambda result: some)

        ROWS[function], KINDS[function] = row, ("differentiable", "a row of its own")
        return maker

    return add


def several(function: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a row for a function of one array with a list of results; an unused result's gradient comes as None."""
    def add(maker: Callable[..., Callable[[list[Any]], Any]]) -> Callable[..., Any]:
        def row(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
            values = function(plain(args[0]), *args[1:], **options)
            if mode.current is PLAIN:
                return values
            if args[0].node is None or mode.current is CONSTANT:
                return [tensor_kind().of(value, None) for value in values]
            pull, count = maker(*args, **options), len(values)

            def gather(parts: Parts) -> Sequence[Any]:
                return (pull([parts.by_output.get(i) for i in range(count)]),)

            joined = Node(None, None, (args[0].node,), gather)
            return [tensor_kind().of(value, Node(value.shape, value.dtype, (joined,), part_of(i)))
                    for i, value in enumerate(values)]

        ROWS[function], KINDS[function] = row, ("differentiable", "a row of its own")
        return maker

    return add


def composed(function: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a row for a function written with others that have rows; the gradient follows from theirs."""
    def add(body: Callable[..., Any]) -> Callable[..., Any]:
        def row(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
            if mode.current is PLAIN and not isinstance(function, np.ufunc):
                return function(*[plain(a) for a in args], **{name: plain(a) for name, a in options.items()})
            return body(*args, **options)

        ROWS[function] = row
        KINDS[function] = ("differentiable", "written with functions that have rows")
        return body

    return add


def constant(reason: str, *functions: Any) -> None:
    """Adds rows for functions whose result never varies with their argument, or is not a real number."""
    for function in functions:
        ROWS[function], KINDS[function] = _constant_row(function), ("constant", reason)


def _constant_row(function: Any) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
    return lambda args, options: function(
        *[plain(a) for a in args], **{name: plain(a) for name, a in options.items()})


def refused(reason: str, *functions: Any) -> None:
    """Adds rows that raise a TypeError with the reason."""
    def make(function: Any) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
        def row(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
            raise TypeError(f"{name_of(function)} on a Tensor: {reason}")
        return row

    for function in functions:
        ROWS[function], KINDS[function] = make(function), ("refused", reason)


def no_rule(function: Any, position: int | str) -> TypeError:
    """Returns the error for an argument that cannot be differentiated."""
    which = f"argument {position}" if isinstance(position, int) else f"argument {position!r}"
    return TypeError(f"{name_of(function)} has no gradient with respect to its {which}; "
                     f"use .value there if none is needed")


def apply(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Returns function(*args, **options) by its row."""
    row = ROWS.get(function)
    if row is None:
        position = next((i for i, a in enumerate(args) if tensors_in([a])), 0)
        raise no_rule(function, position)
    if options:
        if options.get("out") is not None:
            raise TypeError(f"{name_of(function)}: out= is never written by or with a Tensor; "
                            f"take the result, or compute on .value")
        if KINDS[function][0] == "differentiable" and tensors_in(list(options.values())):
            args, options = _positional(function, args, options)
    return row(args, options)


def _positional(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Moves Tensors given by keyword to their places, as rows count arguments by position."""
    names = list(inspect.signature(function).parameters)
    last = max(names.index(name) for name, a in options.items() if tensors_in([a]))
    bound = inspect.signature(function).bind_partial(*args, **options)
    bound.apply_defaults()
    moved = tuple(bound.arguments[name] for name in names[: last + 1])
    return moved, {name: a for name, a in options.items() if name not in names[: last + 1]}


def apply_ufunc(ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Returns a ufunc call by its row; `np.add.reduce` and its like go to the function they stand for."""
    if "out" in options:
        raise TypeError(f"{name_of(ufunc)}: writing into an array with a Tensor (out=, +=) would cut the graph "
                        f"or change what it needs; use `a = a + t`, or .value")
    if method != "__call__":
        function = _METHODS.get((method, ufunc))
        if function is None:
            raise no_rule_method(ufunc, method)
        options = {"axis": 0, **options}
        return apply(function, inputs, options)
    if "where" in options:
        raise TypeError(f"{name_of(ufunc)}: where= leaves elements unset and has no gradient; use np.where")
    return apply(ufunc, inputs, options)


def no_rule_method(ufunc: Any, method: str) -> TypeError:
    """Returns the error for a ufunc method without a rule."""
    return TypeError(f"np.{ufunc.__name__}.{method} has no gradient with respect to its argument 0; "
                     f"use .value there if none is needed")


def internal(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function of ours answer to Tensors by its row, as NumPy's functions do."""
    def dispatch(*args: Any, **options: Any) -> Any:
        if any(type(a) is tensor_kind() for a in args):
            return ROWS[function](args, options)
        return function(*args, **options)

    dispatch.__name__, dispatch.__doc__ = function.__name__, function.__doc__
    dispatch.plain = function  # type: ignore[attr-defined]
    return dispatch
