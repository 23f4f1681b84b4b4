"""Trees of arrays: nested dicts, lists, tuples, NamedTuples and dataclasses, and functions over their leaves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tinyattn.engine.arguments import refilled
from tinyattn.engine.dtypes import floating
from tinyattn.engine.tensor import Tensor

STATIC = (str, bytes, bytearray, int, float, complex, range, type(None), type, ModuleType, FunctionType, MethodType,
          BuiltinFunctionType, partial, np.ufunc, np.dtype, np.generic, np.random.Generator)

# The types of nearly all leaves, tested first: a training step walks twenty trees of a hundred leaves each.
PLAIN = frozenset({int, float, bool, str, type(None), FunctionType})
LEAVES = PLAIN | {np.ndarray, Tensor}


def differentiable(leaf: Any) -> bool:
    """Returns whether a leaf is differentiated: a floating array, a floating scalar of NumPy's, or a Tensor."""
    if type(leaf) in PLAIN:
        return False
    return isinstance(leaf, Tensor) or (isinstance(leaf, (np.ndarray, np.generic)) and floating(leaf.dtype))


def holds_floating(thing: Any, seen: set[int] | None = None) -> bool:
    """Returns whether an object that is not a tree holds a floating array in its items or attributes.

    >>> from types import SimpleNamespace
    >>> holds_floating(SimpleNamespace(w=np.ones(2))), holds_floating(SimpleNamespace(w=np.arange(2)))
    (True, False)
    """
    seen = set() if seen is None else seen
    if isinstance(thing, STATIC) or id(thing) in seen or (isinstance(thing, np.ndarray) and thing.dtype != object):
        return False
    seen.add(id(thing))
    members: list[Any] = [*getattr(thing, "__dict__", {}).values()]
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        members += [getattr(thing, name, None) for name in ((slots,) if isinstance(slots, str) else slots)]
    if isinstance(thing, Mapping):
        members += thing.values()
    elif isinstance(thing, Collection) or isinstance(thing, np.ndarray):
        members += list(thing.flat) if isinstance(thing, np.ndarray) else list(thing)
    return any(differentiable(leaf) or holds_floating(leaf, seen) for member in members for leaf in leaves(member))


def branches(tree: Any) -> dict[Any, Any] | None:
    """Returns the members of a container by key, position or field; None for a leaf."""
    kind: Any = type(tree)
    if kind in LEAVES:
        return None
    names = field_names(kind)
    if names is not None:
        return {name: getattr(tree, name) for name in names}
    if isinstance(tree, dict):
        return tree
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return dict(zip(tree._fields, tree, strict=True))
    if isinstance(tree, (list, tuple)):
        return dict(enumerate(tree))
    return None


@cache
def field_names(kind: Any) -> tuple[str, ...] | None:
    """Returns the names of the fields of a dataclass; None for a class that is not a dataclass, or that is also a container."""
    container = issubclass(kind, (dict, list, tuple))
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) and not container else None


def map_tree(f: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Returns a tree of f(leaf, *leaves at the same place in the other trees), one per leaf of the first tree.

    A dataclass is rebuilt without a call of `__init__`. An array that occurs twice is two leaves.

    >>> map_tree(lambda a, b: a + b, {"w": 1, "b": [2, 3]}, {"w": 10, "b": [20, 30]})
    {'w': 11, 'b': [22, 33]}
    """
    kind: Any = type(tree)
    if kind in LEAVES:
        return f(tree, *rest)
    if isinstance(tree, dict):
        return {key: map_tree(f, tree[key], *[r[key] for r in rest]) for key in tree}
    if isinstance(tree, (list, tuple)):
        return refilled(tree, [map_tree(f, *places) for places in zip(tree, *rest, strict=True)])
    if (names := field_names(kind)) is None:
        return f(tree, *rest)
    made = object.__new__(kind)
    for name in names:
        member, others = getattr(tree, name), [getattr(r, name) for r in rest]
        object.__setattr__(made, name, f(member, *others) if type(member) in LEAVES else map_tree(f, member, *others))
    return made


def named_leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    """Returns every leaf with its dotted name, in order.

    >>> list(named_leaves({"w": 1, "b": [2, 3]}))
    [('w', 1), ('b.0', 2), ('b.1', 3)]
    """
    found: list[tuple[str, Any]] = []
    gather(tree, "", found)
    return iter(found)


def gather(tree: Any, name: str, found: list[tuple[str, Any]]) -> None:
    """Appends every leaf with its dotted name to a list: nested generators take three times as long."""
    members = branches(tree)
    if members is None:
        found.append((name, tree))
        return
    for key, branch in members.items():
        place = f"{name}.{key}" if name else str(key)
        if type(branch) in LEAVES:  # most are, and a call for each took half of the time
            found.append((place, branch))
        else:
            gather(branch, place, found)


def leaves(tree: Any) -> list[Any]:
    """Returns every leaf, in order."""
    found: list[Any] = []
    collect(tree, found)
    return found


def collect(tree: Any, found: list[Any]) -> None:
    """Appends every leaf to a list."""
    members = branches(tree)
    if members is None:
        found.append(tree)
        return
    for branch in members.values():
        if type(branch) in LEAVES:
            found.append(branch)
        else:
            collect(branch, found)
