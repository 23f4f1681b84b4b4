"""How a call meets its row: which arguments are arrays, and which ones the row must refuse by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.arguments import array_like, tensor_kind, tensors_in

# Arguments that say where to write, what to leave out or how memory is laid out: refused unless the row honours them.
NEVER = frozenset("out where initial order subok like device signature overwrite_input writeable copy "
                  "mean period returned".split())
# Types that NumPy takes, and a row keeps, as they are: neither arrays nor containers.
SCALARS = frozenset({int, float, bool, str, slice, type(None), type(...), np.float64, np.float32, np.int64, np.bool_})
FLAT = "a tuple of scalars"
# Each row remembers at most this many kinds of calls; a model makes fewer than 20.
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
    return TypeError(f"{name_of(function)} has no gradient with respect to its argument {position!r}; "
                     f"use .value there if none is needed")


def kind_of(a: Any) -> Any:
    """Returns the type of an argument; a tuple of scalars, such as a shape, is a kind of its own."""
    kind = type(a)
    return FLAT if kind is tuple and SCALARS.issuperset(map(type, a)) else kind


def array_if_listed(a: Any) -> Any:
    """Returns a list or tuple as an array and anything else unchanged: for NumPy a scalar has no dtype of its own."""
    return array_like(a) if isinstance(a, (list, tuple)) else a


def signature_of(function: Any, names: Iterable[str]) -> inspect.Signature:
    """Returns NumPy's signature of a function; for a ufunc, its inputs and what else its row has names for.

    All ufuncs share their options, which UFUNC lists. Here the inputs are called x, or a and b.
    """
    if not isinstance(function, np.ufunc):
        return inspect.signature(function)
    parameter = inspect.Parameter
    return inspect.Signature([
        *[parameter(name, parameter.POSITIONAL_ONLY) for name in (("x",) if function.nin == 1 else ("a", "b"))],
        *[parameter(name, parameter.KEYWORD_ONLY, default=UFUNC[name]) for name in dict.fromkeys(names) if name in UFUNC]])


class Call:
    """The parameters of a row, which are those of NumPy's function, and how the row treats each.

    `arrays` names the parameters that NumPy makes arrays of, `sequences` those that are sequences of arrays, `honours`
    the members of NEVER that the row honours.
    """

    def __init__(self, function: Any, signature: inspect.Signature, arrays: str, sequences: str = "", honours: str = "") -> None:
        self.function, self.signature, self.ufunc = function, signature, isinstance(function, np.ufunc)
        self.known_places: dict[Any, tuple[int, ...] | None] = {}
        parameters = signature.parameters.values()
        self.defaults = {p.name: p.default for p in parameters}
        self.names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "")
        self.takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.arrays, self.sequences = frozenset(arrays.split()), frozenset(sequences.split())
        self.never = (NEVER | {"axes"} if self.ufunc else NEVER) - set(honours.split())

    def name_at(self, place: int) -> str:
        """Returns the name of the parameter that the argument at a place belongs to."""
        return self.names[place] if place < len(self.names) else self.rest

    def no_rule(self, key: Any) -> TypeError:
        """Returns the error for an argument, given by place or by name, that cannot be differentiated."""
        return no_rule(self.function, self.names.index(key) if key in self.names else key)

    def places(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[int, ...] | None:
        """Returns where the Tensors stand if NumPy takes all other arguments as they are; None if the call needs care.

        This depends on the kinds of the arguments alone, so that it is found once for all calls that look alike:
        checking and changing each argument costs as much as the rest of a small operation.
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
        for name, kind in (*[(self.name_at(i), kind) for i, kind in enumerate(kinds)], *options.items()):
            if name not in self.defaults or name in self.sequences or self.harms(name, kind):
                return None
            if kind is not np.ndarray and kind not in SCALARS and (kind is not (tensor if name in self.arrays else FLAT)):
                return None
        return None if tensor in options.values() else tuple(i for i, kind in enumerate(kinds) if kind is tensor)

    def harms(self, name: str, kind: Any) -> bool:
        """Returns whether an argument of this kind may ask for something that the row does not honour."""
        return name in self.never and not (kind is type(None) and self.defaults[name] is None)

    def asks(self, name: str, value: Any) -> bool:
        """Returns whether an argument asks for something other than its default."""
        default = self.defaults.get(name, np._NoValue)
        if default is np._NoValue:
            default = UFUNC.get(name)
        if value is np._NoValue or value is default:
            return False
        return not (isinstance(value, (str, bool)) and type(value) is type(default) and value == default)

    def check(self, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Raises TypeError, naming function and argument, for an argument that the row does not know or cannot honour."""
        for name, value in (*options.items(), *zip(self.names, args, strict=False)):
            if name in self.never and self.asks(name, value):
                raise TypeError(f"{name_of(self.function)}: {name}= is not honoured for a Tensor and has no gradient; "
                                f"use .value there if none is needed")
            if name not in self.defaults and not self.takes_more and not (self.ufunc and name in UFUNC):
                raise TypeError(f"{name_of(self.function)}: the rule for Tensors has no argument {name}=")

    def coerced(self, args: Sequence[Any], options: dict[str, Any],
                change: Callable[[Any], Any] = array_if_listed) -> tuple[list[Any], dict[str, Any]]:
        """Returns the arguments with lists as arrays; raises TypeError for a Tensor in the place of anything else."""
        def one(place: int | str, name: str, a: Any) -> Any:
            if name in self.arrays:
                return change(a)
            if name in self.sequences:
                return [change(item) for item in a]
            if tensors_in((a,)):
                raise self.no_rule(place)
            return a

        return ([one(i, self.name_at(i), a) for i, a in enumerate(args)],
                {name: one(name, name, a) for name, a in options.items() if a is not np._NoValue})
