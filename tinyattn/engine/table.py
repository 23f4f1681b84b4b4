"""The rule table: one row per NumPy function, saying how its gradient is computed, or why there is none."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.arguments import own, plain, tensor_kind, tensors_in, wide
from tinyattn.engine.call import Call, name_of, no_rule
from tinyattn.engine.dtypes import NAMES, floating
from tinyattn.engine.graph import CONSTANT, PLAIN, Node, Parts, mode, part_of

ROWS: dict[Any, Callable[[tuple[Any, ...], dict[str, Any]], Any]] = {}
KINDS: dict[Any, tuple[str, str]] = {}
CALLS: dict[Any, Call] = {}


def enter(function: Any, row: Callable[[tuple[Any, ...], dict[str, Any]], Any], call: Call, how: str) -> None:
    """Puts a row into the table; its Tensors are found at the keywords too."""
    def checked(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if mode.current is PLAIN:
            return value_of(function, args, options)
        if options or len(args) > call.simple:
            call.check(args, options)
        return row(args, options)

    ROWS[function], KINDS[function], CALLS[function] = checked, ("differentiable", how), call


def value_of(function: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """Returns what NumPy makes of the call without Tensors."""
    if options:
        return function(*[plain(a) for a in args], **{name: plain(a) for name, a in options.items()})
    return function(*[plain(a) for a in args])


def record(function: Any, value: Any, parents: Sequence[Node], make: Callable[[Any], Callable[[Any], Sequence[Any]]],
           *, needs_result: bool = False) -> Any:
    """Returns the Tensor of a computed value; `make(result)` gives its pullback, one gradient per parent."""
    value = np.asarray(value)
    if not floating(value.dtype):
        raise TypeError(f"{name_of(function)}: the result would be {value.dtype}, and a Tensor is {NAMES}; use .value")
    tensor = tensor_kind()
    if mode.current is CONSTANT or not parents:
        return tensor.of(value, None)
    # The pullback may close over the result, never over the node: a cycle would outlive its last user.
    result = tensor.of(value, None) if needs_result else None
    return tensor.of(value, Node(value.shape, value.dtype, tuple(parents), make(result), result))


def nothing(result: Any) -> Callable[[Any], Sequence[Any]]:
    """Makes the pullback of a value that depends on no Tensor."""
    return lambda g: ()


def rule(function: Any, *makers: Callable[..., Callable[[Any], Any]] | None, arrays: str | None = None,
         honours: str = "", widens: bool = True) -> None:
    """Adds a row: for each argument, from the call's arguments, the function from `g` to its gradient.

    `rule(np.multiply, lambda a, b: lambda g: g * b, lambda a, b: lambda g: g * a)`. The inner function is all
    that is kept for the walk back, so a row remembers just what it mentions. A row whose first parameter is
    called `result` also gets the result. None stands for an argument that has no gradient. Broadcasting and dtype
    are the walk's business, and the value is NumPy's own. The parameters of the first maker are those of the function.
    Makers see float16 and bfloat16 as float32 unless the row says that it need not.
    """
    first = next(maker for maker in makers if maker is not None)
    takes = [set() if maker is None else set(inspect.signature(maker).parameters) for maker in makers]
    wants = ["result" in names for names in takes]
    names = [name for name in inspect.signature(first).parameters if name != "result"]
    call = Call(function, first, " ".join(names[: len(makers)]) if arrays is None else arrays, "", honours,
                skip_first=next(iter(inspect.signature(first).parameters)) == "result")

    def row(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if options and tensors_in(list(options.values())):
            args, options = call.placed(args, options)
        made, options = call.coerce(args, options, scalars=False)
        value = value_of(function, made, options)
        tensor = tensor_kind()
        here = [i for i, a in enumerate(made) if type(a) is tensor and a.node is not None]
        for i in here:
            if i >= len(makers) or makers[i] is None:
                raise no_rule(function, i)
        if not here or mode.current is CONSTANT:
            return record(function, value, (), nothing)
        kept = [wide(own(a)) if widens else own(a) for a in made]
        kept_options = {name: own(a) for name, a in options.items()} if options else options

        def make(result: Any) -> Callable[[Any], Sequence[Any]]:
            pulls = []
            for i in here:
                maker = makers[i]
                if maker is not None:
                    known = {name: a for name, a in kept_options.items() if name in takes[i]}
                    pulls.append(maker(result, *kept, **known) if wants[i] else maker(*kept, **known))
            if len(pulls) == 1:
                only = pulls[0]
                return lambda g: (only(g),)
            return lambda g: [pull(g) for pull in pulls]

        return record(function, value, [made[i].node for i in here], make, needs_result=any(wants[i] for i in here))

    enter(function, row, call, "a row of its own")


def joint(function: Any, *, arrays: str = "", sequences: str = "", honours: str = "",
          prepare: Callable[..., tuple[Any, ...]] | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a row for a function of many arrays: from the arguments, the function from `g` to all gradients.

    Decorates `maker(*args, **options)`, which returns the pullback giving one gradient for each Tensor among the
    arguments (looking into lists), in order. `prepare` brings positional arguments into one form first.
    """
    def add(maker: Callable[..., Callable[[Any], Sequence[Any]]]) -> Callable[..., Any]:
        call = Call(function, maker, arrays, sequences, honours)

        def row(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
            if options and tensors_in(list(options.values())):
                args, options = call.placed(args, options)
            made, options = call.coerce(args if prepare is None else prepare(*args), options, scalars=True)
            value = value_of(function, made, options)
            found = tensors_in(made)
            live = [i for i, t in enumerate(found) if t.node is not None]
            if not live or mode.current is CONSTANT:
                return record(function, value, (), nothing)
            pull = maker(*[wide(own(a)) for a in made], **options)
            if len(live) == len(found):
                return record(function, value, [t.node for t in found], lambda result: pull)

            def some(g: Any) -> Sequence[Any]:
                every = pull(g)
                return [every[i] for i in live]

            return record(function, value, [found[i].node for i in live], lambda result: some)

        enter(function, row, call, "a row of its own")
        return maker

    return add


def several(function: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a row for a function of one array with a list of results; an unused result's gradient comes as None."""
    def add(maker: Callable[..., Callable[[list[Any]], Any]]) -> Callable[..., Any]:
        call = Call(function, maker, next(iter(inspect.signature(maker).parameters)))

        def row(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
            if options and tensors_in(list(options.values())):
                args, options = call.placed(args, options)
            call.coerce(args, options, scalars=False)
            values, tensor = value_of(function, args, options), tensor_kind()
            if args[0].node is None or mode.current is CONSTANT:
                return [tensor.of(value, None) for value in values]
            pull, count = maker(*[own(a) for a in args], **options), len(values)

            def gather(parts: Parts) -> Sequence[Any]:
                return (pull([parts.by_output.get(i) for i in range(count)]),)

            joined = Node(None, None, (args[0].node,), gather)
            return [tensor.of(value, Node(value.shape, value.dtype, (joined,), part_of(i)))
                    for i, value in enumerate(values)]

        enter(function, row, call, "a row of its own")
        return maker

    return add


def composed(function: Any, arrays: str | None = None, sequences: str = "",
             honours: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a row for a function written with others that have rows: its gradient follows from theirs.

    The value is NumPy's own, so that no last bit, NaN or dtype can differ; the body is for the way back alone.
    `arrays` names the parameters that are arrays, the first one if nothing is said.
    """
    def add(body: Callable[..., Any]) -> Callable[..., Any]:
        first = next(iter(inspect.signature(body).parameters))
        call = Call(function, body, first if arrays is None else arrays, sequences, honours)

        def row(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
            made, given = call.coerce(args, options, scalars=True)
            # NumPy sees scalars as scalars, which have no dtype of their own; a list of Tensors is no list for it.
            seen = [m if tensors_in((m,)) else a for m, a in zip(made, args, strict=True)]
            value = value_of(function, seen, {n: given[n] if tensors_in((a,)) else a for n, a in options.items()})
            if mode.current is CONSTANT or all(t.node is None for t in tensors_in((*made, *given.values()))):
                return joined(function, value, value)
            with np.errstate(all="ignore"):  # what there is to say about the numbers, NumPy has said above
                return joined(function, value, body(*wide(made), **wide(given)))

        enter(function, row, call, "written with functions that have rows")
        return body

    return add


def joined(function: Any, value: Any, built: Any, *, piece: bool = False) -> Any:
    """Returns NumPy's value on the graph that the body built, piece by piece where there are several."""
    if isinstance(value, (list, tuple)):
        parts = [joined(function, v, b, piece=True) for v, b in zip(value, built, strict=True)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    tensor, array = tensor_kind(), np.asarray(value)
    if not floating(array.dtype):
        return np.array(array) if piece else record(function, array, (), nothing)
    if type(built) is not tensor:
        return tensor.of(np.array(array), None)
    return tensor.of(array, (built if built.dtype == array.dtype else built.astype(array.dtype)).node)


def plainly(function: Any, when: Callable[[tuple[Any, ...], dict[str, Any]], bool]) -> None:
    """Lets a row give NumPy's own result, no Tensor, for the calls in which nothing can be differentiated."""
    row = ROWS[function]
    ROWS[function] = lambda args, options: (value_of(function, args, options) if when(args, options)
                                            else row(args, options))


def constant(reason: str, *functions: Any) -> None:
    """Adds rows for functions whose result never varies with their argument, or is not a real number."""
    def make(function: Any) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
        return lambda args, options: value_of(function, args, options)

    for function in functions:
        ROWS[function], KINDS[function] = make(function), ("constant", reason)


def refused(reason: str, *functions: Any) -> None:
    """Adds rows that raise a TypeError with the reason."""
    def make(function: Any) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
        def row(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
            raise TypeError(f"{name_of(function)} on a Tensor: {reason}")
        return row

    for function in functions:
        ROWS[function], KINDS[function] = make(function), ("refused", reason)


def internal(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function of ours answer to Tensors by its row, as NumPy's functions do."""
    def dispatch(*args: Any, **options: Any) -> Any:
        if any(type(a) is tensor_kind() for a in args):
            return ROWS[function](args, options)
        return function(*args, **options)

    dispatch.__name__, dispatch.__doc__ = function.__name__, function.__doc__
    dispatch.plain = function  # type: ignore[attr-defined]
    return dispatch
