"""The rule table: one row per NumPy function, saying how its gradient is computed, or why there is none."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.arguments import held, own, tensor_kind, tensors_in, wide
from tinyattn.engine.call import SCALARS, Call, name_of, no_rule
from tinyattn.engine.dtypes import floating
from tinyattn.engine.graph import CONSTANT, PLAIN, Node, Parts, mode, part_of
from tinyattn.engine.record import as_given, joined, nothing, record, value_at, value_of

Row = Callable[[Sequence[Any], dict[str, Any], Sequence[int] | None], Any]

ROWS: dict[Any, Callable[[tuple[Any, ...], dict[str, Any]], Any]] = {}
KINDS: dict[Any, tuple[str, str]] = {}
CALLS: dict[Any, Call] = {}


def enter(function: Any, row: Row, call: Call, how: str) -> None:
    """Puts a row into the table. It is called with checked arguments, and with what `Call.places` says of them."""
    def checked(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        places = call.places(args, options)
        if mode.current is PLAIN:
            return value_of(function, args, options) if places is None else value_at(function, args, options, places)
        if places is None:
            if options or len(args) > call.simple:
                call.check(args, options)
        return row(args, options, places)

    ROWS[function], KINDS[function], CALLS[function] = checked, ("differentiable", how), call


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
    wanted = any(wants)
    names = [name for name in inspect.signature(first).parameters if name != "result"]
    call = Call(function, first, " ".join(names[: len(makers)]) if arrays is None else arrays, "", honours,
                skip_first=next(iter(inspect.signature(first).parameters)) == "result")

    def row(args: Sequence[Any], options: dict[str, Any], places: Sequence[int] | None) -> Any:
        plain = places is not None  # then all but arrays and Tensors are scalars and tuples of them
        if places is None:
            args, options = call.coerce(*call.placed(tuple(args), options))
            value, tensor = value_of(function, args, options), tensor_kind()
            places = [i for i, a in enumerate(args) if type(a) is tensor]
        else:
            value = value_at(function, args, options, places)
        here = [i for i in places if args[i].node is not None]
        for i in here:
            if i >= len(makers) or makers[i] is None:
                raise no_rule(function, i)
        if not here or mode.current is CONSTANT:
            return record(function, value, (), nothing)
        kept = [a if type(a) in SCALARS or (plain and type(a) is tuple) else held(a, widen=widens) for a in args]
        kept_options = options if plain else {name: own(a) for name, a in options.items()}

        def make(result: Any) -> Callable[[Any], Sequence[Any]]:
            pulls = []
            for i in here:
                maker = makers[i]
                if maker is not None:
                    known = kept_options
                    if known and not known.keys() <= takes[i]:
                        known = {name: a for name, a in known.items() if name in takes[i]}
                    pulls.append(maker(result, *kept, **known) if wants[i] else maker(*kept, **known))
            if len(pulls) == 1:
                only = pulls[0]
                return lambda g: (only(g),)
            return lambda g: [pull(g) for pull in pulls]

        return record(function, value, [args[i].node for i in here], make,
                      needs_result=wanted and any(wants[i] for i in here))

    enter(function, row, call, "a row of its own")


def joint(function: Any, *, arrays: str = "", sequences: str = "", honours: str = "",
          prepare: Callable[..., tuple[Any, ...]] | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds a row for a function of many arrays: from the arguments, the function from `g` to all gradients.

    Decorates `maker(*args, **options)`, which returns the pullback giving one gradient for each Tensor among the
    arguments (looking into lists), in order. `prepare` brings positional arguments into one form first.
    """
    def add(maker: Callable[..., Callable[[Any], Sequence[Any]]]) -> Callable[..., Any]:
        call = Call(function, maker, arrays, sequences, honours, scalars=True)

        def row(args: Sequence[Any], options: dict[str, Any], places: Sequence[int] | None) -> Any:
            if places is None:
                args, options = call.placed(tuple(args), options)
                args, options = call.coerce(args if prepare is None else prepare(*args), options)
                value, found = value_of(function, args, options), tensors_in(args)
            else:
                value, found = value_at(function, args, options, places), [args[i] for i in places]
            live = [i for i, t in enumerate(found) if t.node is not None]
            if not live or mode.current is CONSTANT:
                return record(function, value, (), nothing)
            pull = maker(*[held(a, widen=True) for a in args], **options)
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

        def row(args: Sequence[Any], options: dict[str, Any], places: Sequence[int] | None) -> Any:
            if places is None:
                args, options = call.placed(tuple(args), options)
                call.coerce(args, options)
                values = value_of(function, args, options)
            else:
                values = value_at(function, args, options, places)
            tensor = tensor_kind()
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
        call = Call(function, body, first if arrays is None else arrays, sequences, honours, scalars=True)

        def row(args: Sequence[Any], options: dict[str, Any], places: Sequence[int] | None) -> Any:
            if places is None:
                made, given = call.coerce(tuple(args), options)
                seen = [as_given(m, a) for m, a in zip(made, args, strict=True)]
                value = value_of(function, seen, {name: as_given(a, options[name]) for name, a in given.items()})
            else:
                made, given, value = list(args), options, value_at(function, args, options, places)
            if not isinstance(value, (list, tuple)) and not floating(np.asarray(value).dtype):
                return record(function, value, (), nothing)  # which refuses it by name
            if call.ufunc:
                given = {name: a for name, a in given.items() if name in call.defaults}
            if mode.current is CONSTANT or all(t.node is None for t in tensors_in((*made, *given.values()))):
                return joined(value, value)
            with np.errstate(all="ignore"):  # what there is to say about the numbers, NumPy has said above
                return joined(value, body(*wide(made), **wide(given)))

        enter(function, row, call, "written with functions that have rows")
        return body

    return add


def plainly(function: Any, when: Callable[[tuple[Any, ...], dict[str, Any]], bool]) -> None:
    """Lets a row give NumPy's own result, no Tensor, for the calls in which nothing can be differentiated."""
    row = ROWS[function]
    ROWS[function] = lambda args, options: (value_of(function, args, options) if when(args, options)
                                            else row(args, options))


def renamed(function: Any, old: str, place: int) -> None:
    """Lets a row take the argument of a place by the name that older versions of NumPy give it."""
    row = ROWS[function]

    def under_either(args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if old in options and len(args) == place:
            args, options = (*args, options[old]), {name: a for name, a in options.items() if name != old}
        return row(args, options)

    ROWS[function] = under_either


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
        if tensor_kind() in map(type, args):
            return ROWS[function](args, options)
        return function(*args, **options)

    dispatch.__name__, dispatch.__doc__ = function.__name__, function.__doc__
    dispatch.plain = function  # type: ignore[attr-defined]
    return dispatch
