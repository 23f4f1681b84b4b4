"""How a call meets its row: arguments by NumPy's names, those that a row cannot honour refused by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.arguments import array_like, arrays_in, tensor_kind, tensors_in

# What says where to write, what to leave out or how memory is laid out: a row honours these only where it says so.
NEVER = frozenset("out where initial order subok like device signature overwrite_input writeable copy "
                  "mean period returned".split())
# What NumPy takes as it stands, and what a row keeps as it stands: neither an array nor a container.
SCALARS = frozenset({int, float, bool, str, slice, type(None), type(...), np.float64, np.float32, np.int64, np.bool_})
FLAT = "a tuple of scalars"
# Beyond so many kinds of calls of one row each further one is looked at anew; a model makes fewer than 20.
KINDS_KEPT = 256
UFUNC = {"out": None, "where": True, "casting": "same_kind", "order": "K", "dtype": None, "subok": True,
         "signature": None, "axes": None, "axis": None, "keepdims": False}


def name_of(function: Any) -> str:
    """Returns the public name of a NumPy function, as a user would type it."""
    module = getattr(function, "__module__", None) or ""
    prefix = "np.linalg." if "linalg" in module else "np.fft." if "fft" in module else "np."
    return f"{prefix if isinstance(function, np.ufunc) or module.startswith('numpy') else ''}{function.__name__}"


def no_rule(function: Any, position: int | str) -> TypeError:
    """Returns the error for an argument that cannot be differentiated."""
    which = f"argument {position}" if isinstance(position, int) else f"argument {position!r}"
    return TypeError(f"{name_of(function)} has no gradient with respect to its {which}; "
                     f"use .value there if none is needed")


def kind_of(a: Any) -> Any:
    """Returns the type of an argument; a tuple of scalars, such as a shape, is a kind of its own."""
    kind = type(a)
    return FLAT if kind is tuple and SCALARS.issuperset(map(type, a)) else kind


class Call:
    """The parameters of a row, which are those of NumPy's function, and what a row does with each.

    `arrays` names those that NumPy makes arrays of, `sequences` those that are sequences of arrays, `honours` those
    of NEVER that the row honours all the same. A ufunc's row names its inputs alone; its options are the same for all.
    With `scalars` a number that stands for an array becomes one.
    """

    def __init__(self, function: Any, body: Callable[..., Any], arrays: str, sequences: str = "", honours: str = "",
                 *, skip_first: bool = False, scalars: bool = False) -> None:
        self.function, self.ufunc, self.scalars = function, isinstance(function, np.ufunc), scalars
        self.known_places: dict[Any, tuple[int, ...] | None] = {}
        parameters = list(inspect.signature(body).parameters.values())[1 if skip_first else 0 :]
        self.signature = inspect.Signature(parameters)
        self.defaults = {p.name: p.default for p in parameters}
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.names = [p.name for p in positional]
        self.arrays, self.sequences = set(arrays.split()), set(sequences.split())
        self.never = (NEVER | {"axes"} if self.ufunc else NEVER) - set(honours.split())
        rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self.takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.by_name = {name: self.treatment(name) for name in self.defaults}
        self.change = [self.treatment(name) for name in self.names]
        self.change_rest = None if rest is None else self.treatment(rest)
        self.simple = next((i for i, name in enumerate(self.names) if name in self.never), len(self.names))

    def treatment(self, name: str) -> Callable[[Any], Any] | None:
        """Returns what is done to an argument of this name."""
        return array_like if name in self.arrays else arrays_in if name in self.sequences else None

    def places(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[int, ...] | None:
        """Returns where the Tensors stand if NumPy takes all other arguments as they are, None if the call needs care.

        This depends on the kinds of the arguments alone, so that it is found out once for all calls that look alike:
        checking and changing each argument cost as much as the rest of a small operation.
        """
        kinds: tuple[Any, ...] = tuple(map(type, args))
        if tuple in kinds:
            kinds = tuple(map(kind_of, args))
        key = (kinds, *options, *map(kind_of, options.values())) if options else kinds
        try:
            return self.known_places[key]
        except KeyError:
            found = self.find_places(kinds, {name: kind_of(a) for name, a in options.items()})
            if len(self.known_places) < KINDS_KEPT:
                self.known_places[key] = found
            return found

    def find_places(self, kinds: tuple[Any, ...], options: dict[str, Any]) -> tuple[int, ...] | None:
        """Returns what `places` does, from the kinds of the arguments."""
        tensor = tensor_kind()
        for i, kind in enumerate(kinds):
            change = self.change[i] if i < len(self.change) else self.change_rest
            if kind is tensor or kind is np.ndarray:
                fits = change is array_like or (change is None and kind is np.ndarray)
            elif change is None:
                fits = kind in SCALARS or kind is FLAT
            else:
                fits = change is array_like and (kind in (str, type(None)) or (kind in SCALARS and not self.scalars))
            if not fits or (i < len(self.names) and self.harms(self.names[i], kind)):
                return None
        for name, kind in options.items():
            change = self.by_name.get(name)
            if name not in self.defaults or self.harms(name, kind) or (change is not None and kind is not type(None)):
                return None
            if kind not in SCALARS and kind is not FLAT:
                return None
        return tuple(i for i, kind in enumerate(kinds) if kind is tensor)

    def harms(self, name: str, kind: Any) -> bool:
        """Returns whether an argument of this kind may say something that the row does not honour."""
        return name in self.never and not (kind is type(None) and self.defaults[name] is None)

    def given(self, name: str, value: Any) -> bool:
        """Returns whether an argument says something that its default does not."""
        default = UFUNC.get(name) if self.ufunc and name not in self.defaults else self.defaults.get(name)
        if value is np._NoValue or value is default:
            return False
        return not (isinstance(value, (str, bool)) and type(value) is type(default) and value == default)

    def check(self, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Raises TypeError, naming function and argument, for what the row does not know or cannot honour."""
        pairs = list(options.items())
        if len(args) > self.simple:
            pairs += zip(self.names, args, strict=False)
        for name, value in pairs:
            if name in self.never and self.given(name, value):
                raise TypeError(f"{name_of(self.function)}: {name}= is not honoured for a Tensor and has no gradient; "
                                f"use .value there if none is needed")
            if name not in self.defaults and not self.takes_more and not (self.ufunc and name in UFUNC):
                raise TypeError(f"{name_of(self.function)}: a Tensor's rule knows no argument {name}=")

    def coerce(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Returns the arguments with lists, and scalars if asked, as arrays; a Tensor where none belongs is refused."""
        made = [self.one(i, a, self.change[i] if i < len(self.change) else self.change_rest)
                for i, a in enumerate(args)]
        return made, {name: self.one(name, a, self.by_name.get(name))
                      for name, a in options.items() if a is not np._NoValue} if options else options

    def one(self, place: int | str, a: Any, change: Callable[[Any], Any] | None) -> Any:
        """Returns one argument, changed as its parameter asks."""
        listed = isinstance(a, (list, tuple))
        if change is not None:
            return change(a) if a is not None and (listed or self.scalars or change is arrays_in) else a
        if type(a) is tensor_kind() or (listed and tensors_in((a,))):
            raise no_rule(self.function, place)
        return a

    def placed(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Moves Tensors given by keyword to their places, as rules count arguments by position."""
        ours = [name for name, a in options.items() if tensors_in([a])] if options else []
        if not ours:
            return args, options
        wrong = [name for name in ours if name not in self.names]
        if wrong:
            raise no_rule(self.function, wrong[0])
        last = max(self.names.index(name) for name in ours)
        if last < len(args):
            raise TypeError(f"{name_of(self.function)} got multiple values for argument {self.names[last]!r}")
        filled = list(args)
        for name in self.names[len(args) : last + 1]:
            value = options[name] if name in options else self.defaults[name]
            if value is inspect.Parameter.empty:
                raise TypeError(f"{name_of(self.function)}: missing argument {name!r}")
            filled.append(value)
        moved = self.names[len(args) : last + 1]
        return tuple(filled), {name: a for name, a in options.items() if name not in moved}
