"""Whether a function is still what it was when it was traced: its code, and the value of all that the code reads from outside."""

from __future__ import annotations

import builtins
import dis
import math
from collections.abc import Hashable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any, NamedTuple

import numpy as np

from tinyattn.engine.table import ROWS

# Helpers that call helpers: deeper than this, a function counts as changed.
DEEPEST = 8
# Code objects of which it is known what they load, at most.
MOST = 512
# Instructions by which a result depends on more than the arguments and the names that are loaded, or which change what is outside.
ACTS = ("IMPORT_", "STORE_GLOBAL", "STORE_NAME", "STORE_ATTR", "DELETE_", "LOAD_BUILD_CLASS", "LOAD_LOCALS", "YIELD_", "GET_A")
# Builtins that give the same for the same arguments.
BUILTINS = {name: getattr(builtins, name) for name in (
    "abs", "bool", "divmod", "enumerate", "float", "int", "isinstance", "len", "list", "max", "min", "pow", "range", "reversed", "sum",
    "tuple", "zip")}
ALLOWED = frozenset(BUILTINS.values())
PLAIN = frozenset({int, bool, str, bytes, type(None)})
UNKNOWN = object()


class Loads(NamedTuple):
    """The names that a code object loads from outside, and those of attributes, with those of the functions inside it."""

    names: frozenset[str]
    attributes: frozenset[str]


READ: dict[CodeType, Loads | None] = {}


def loads(code: CodeType) -> Loads | None:
    """Returns what a code object loads; None if it does anything that the names alone do not describe."""
    if code in READ:
        return READ[code]
    if len(READ) < MOST:
        READ[code] = loads_of(code)
        return READ[code]
    return loads_of(code)


def loads_of(code: CodeType) -> Loads | None:
    """Returns what `loads` does, from the instructions."""
    steps = list(dis.get_instructions(code))
    if any(step.opname.startswith(ACTS) or (step.opname == "STORE_DEREF" and step.argval in code.co_freevars) for step in steps):
        return None
    found = [Loads(*(frozenset(step.argval for step in steps if step.opname in kind)
                     for kind in (("LOAD_GLOBAL", "LOAD_NAME"), ("LOAD_ATTR", "LOAD_METHOD"))))]
    if not found[0].names | found[0].attributes >= set(code.co_names) or any(name.startswith("_") for name in found[0].attributes):
        return None
    for inner in (x for x in code.co_consts if isinstance(x, CodeType)):
        within = loads_of(inner)
        if within is None:
            return None
        found.append(within)
    return Loads(*(frozenset().union(*names) for names in zip(*found, strict=True)))


def identity(function: Any, depth: int = 0) -> Hashable | None:
    """Returns what is equal for two functions only if they give the same for the same arguments; None where that cannot be told.

    It can be told of plain functions that read numbers, NumPy's functions, and others of this kind. Whatever can be changed in
    its place, such as a list, an array or an object with attributes, is not looked into.

    >>> made = [lambda s, i, j, slope=slope: s - slope * np.abs(i - j) for slope in (0.5, 0.5, 0.25)]
    >>> identity(made[0]) == identity(made[1]), identity(made[0]) == identity(made[2]), identity(print)
    (True, False, None)
    """
    if type(function) is not FunctionType or function.__dict__ or depth > DEEPEST:
        return None
    read = loads(function.__code__)
    if read is None:
        return None
    found: list[Hashable] = [function.__code__]
    for value in values_of(function, read.names):
        same = constant(value, read.attributes, depth)
        if same is None:
            return None
        found.append(same)
    return tuple(found)


def values_of(function: FunctionType, names: frozenset[str]) -> Iterator[Any]:
    """Yields all that a function reads besides its arguments; UNKNOWN for what has no value, or not the one that is known."""
    yield from function.__defaults__ or ()
    for name, value in (function.__kwdefaults__ or {}).items():
        yield name
        yield value
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that gets its value later
            yield UNKNOWN
    for name in names:
        if name in function.__globals__:
            yield function.__globals__[name]
        else:
            yield BUILTINS[name] if name in BUILTINS and getattr(builtins, name, None) is BUILTINS[name] else UNKNOWN


def constant(value: Any, attributes: frozenset[str], depth: int) -> Hashable | None:
    """Returns what is equal for values that are the same and stay it; None for others. `attributes` may be read of a module."""
    kind = type(value)
    if kind is float:
        return kind, value.hex()  # 0.0 and -0.0 are equal
    if kind in PLAIN:
        return kind, value
    if isinstance(value, np.generic):
        return (kind, value.tobytes()) if stays(kind) else None
    if kind is tuple:
        items = [constant(item, attributes, depth) for item in value]
        return None if None in items else (kind, *items)
    if value is np or value is math:
        # Not np.random, whose numbers are others each time.
        read = [(name, vars(value)[name]) for name in attributes if name in vars(value)]
        return (kind, *read) if all(stays(x) for _, x in read) else None
    if kind is FunctionType and not listed(value):
        return identity(value, depth + 1)
    return (kind, value) if stays(value) else None


def stays(value: Any) -> bool:
    """Returns whether this is a function that gives the same for the same arguments, a number, or a type of numbers."""
    if isinstance(value, type):
        return value in ALLOWED or (issubclass(value, np.generic) and value.__module__ == "numpy")
    return (type(value) is float or isinstance(value, np.ufunc) or listed(value)
            or (isinstance(value, BuiltinFunctionType) and value.__module__ == "math"))


def listed(value: Any) -> bool:
    """Returns whether a value is a function of the rule table or one of the builtins above."""
    try:
        return value in ROWS or value in ALLOWED
    except TypeError:  # it has no hash
        return False
