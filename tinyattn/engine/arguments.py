"""The arguments of a call: where its Tensors are, and copies that the caller can no longer change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinyattn.engine.dtypes import floating

_tensor: Any = None


def bind_tensor(kind: type) -> None:
    """Tells this file which class to look for among arguments; called once, by `tensor.py`."""
    global _tensor
    _tensor = kind


def tensor_kind() -> Any:
    """Returns the class Tensor, which is defined further down the map."""
    return _tensor


def mapped(change: Callable[[Any], Any], argument: Any) -> Any:
    """Returns the argument with `change` applied to every array and Tensor in it, also inside containers.

    >>> mapped(np.sum, {"a": [np.ones(2), "word"], "b": 3})
    {'a': [np.float64(2.0), 'word'], 'b': 3}
    """
    if type(argument) is _tensor or isinstance(argument, (np.ndarray, np.generic)):
        return change(argument)
    if isinstance(argument, dict):
        return {key: mapped(change, item) for key, item in argument.items()}
    if isinstance(argument, (list, tuple)):
        return refilled(argument, [mapped(change, item) for item in argument])
    return argument


def refilled(container: Any, items: list[Any]) -> Any:
    """Returns a list, tuple or NamedTuple of the same type with these items."""
    return type(container)(*items) if hasattr(container, "_fields") else type(container)(items)


def bare(argument: Any) -> Any:
    """Returns the argument with every Tensor in it replaced by its array."""
    return mapped(lambda a: a._value if type(a) is _tensor else a, argument)


def copied(argument: Any) -> Any:
    """Returns the argument with every array replaced by a copy, since the caller could still write to it."""
    return mapped(_copy, argument)


def kept(argument: Any, *, widen: bool) -> Any:
    """Returns what a row keeps of an argument for the walk back: a copy, in float32 if asked and narrower."""
    if type(argument) is _tensor:
        return _widened(argument) if widen and argument._value.itemsize == 2 else argument
    return mapped(_widened, copied(argument)) if widen else copied(argument)


def _copy(a: Any) -> Any:
    return a if type(a) is _tensor else np.array(a) if a.ndim else a[()]


def _widened(a: Any) -> Any:
    dtype = a.dtype
    return a.astype(np.float32) if dtype.itemsize == 2 and floating(dtype) else a


def tensors_in(arguments: Iterable[Any]) -> list[Any]:
    """Returns the Tensors among the arguments, looking into lists and tuples, in order."""
    found: list[Any] = []
    for argument in arguments:
        if type(argument) is _tensor:
            found.append(argument)
        elif isinstance(argument, (list, tuple)):
            found.extend(tensors_in(argument))
    return found


def array_like(argument: Any) -> Any:
    """Returns what NumPy would make of an argument that stands for an array; a list of Tensors is stacked."""
    if argument is None or argument is np._NoValue or isinstance(argument, (_tensor, np.ndarray, str)):
        return argument
    if isinstance(argument, (list, tuple)) and tensors_in(argument):
        return np.stack([array_like(item) for item in argument])
    return np.asarray(argument)
