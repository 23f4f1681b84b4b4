"""The arguments of a call: where its Tensors are, what they are without them, and what the caller may still change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def held(argument: Any, *, widen: bool) -> Any:
    """Returns what a row keeps of an argument: a copy if its caller may still write to it, in float32 if asked and narrower."""
    kind = type(argument)
    if kind is _tensor:
        return argument if argument._value.itemsize != 2 or not widen else wide(argument)
    if kind is np.ndarray:
        copied = np.array(argument) if argument.ndim else argument[()]
        return copied if argument.itemsize != 2 or not widen else wide(copied)
    if kind is list:
        return [held(item, widen=widen) for item in argument]
    return wide(own(argument)) if widen else own(argument)


def own(argument: Any) -> Any:
    """Returns the argument with every array that its caller could still write to replaced by a copy."""
    if isinstance(argument, np.ndarray):
        return np.array(argument) if argument.ndim else argument[()]
    return argument if type(argument) is _tensor else rebuilt(argument, own)


def wide(argument: Any) -> Any:
    """Returns the argument with float16 and bfloat16 as float32: derivatives are computed in no less."""
    if not isinstance(argument, (np.ndarray, np.generic, _tensor)):
        return rebuilt(argument, wide)
    return argument.astype(np.float32) if argument.dtype.itemsize == 2 and floating(argument.dtype) else argument


def tensors_in(arguments: Sequence[Any]) -> list[Any]:
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
    if argument is None or type(argument) is _tensor or isinstance(argument, (np.ndarray, str)):
        return argument
    if isinstance(argument, (list, tuple)) and tensors_in(argument):
        return np.stack([array_like(item) for item in argument])
    return np.asarray(argument)


def arrays_in(arguments: Any) -> Any:
    """Returns a sequence with each member as an array; a Tensor or an array is a sequence along its first axis."""
    return [array_like(item) for item in arguments]
