"""The arguments of a call: where its Tensors are, what they are without them, and what the caller may still change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_tensor: Any = None


def bind_tensor(kind: type) -> None:
    """Tells this file which class to look for among arguments; called once, by `tensor.py`."""
    global _tensor
    _tensor = kind


def tensor_kind() -> Any:
    """Returns the class Tensor, which is defined further down the map."""
    return _tensor


def rebuilt(container: Any, change: Callable[[Any], Any]) -> Any:
    """Returns a list, tuple, NamedTuple or dict with every member changed; anything else as it is."""
    kind = type(container)
    if kind is list or kind is tuple:
        return kind([change(item) for item in container])
    if isinstance(container, tuple) and hasattr(container, "_fields"):
        return kind(*[change(item) for item in container])
    if kind is dict:
        return {key: change(item) for key, item in container.items()}
    return container


def plain(argument: Any) -> Any:
    """Returns the argument with every Tensor in it replaced by its array."""
    return argument._value if type(argument) is _tensor else rebuilt(argument, plain)


def own(argument: Any) -> Any:
    """Returns the argument with every array that its caller could still write to replaced by a copy."""
    if isinstance(argument, np.ndarray):
        return np.array(argument) if argument.ndim else argument[()]
    return argument if type(argument) is _tensor else rebuilt(argument, own)


def tensors_in(arguments: Sequence[Any]) -> list[Any]:
    """Returns the Tensors among the arguments, looking into lists and tuples, in order."""
    found: list[Any] = []
    for argument in arguments:
        if type(argument) is _tensor:
            found.append(argument)
        elif isinstance(argument, (list, tuple)):
            found.extend(tensors_in(argument))
    return found
