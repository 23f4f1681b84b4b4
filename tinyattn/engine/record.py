"""What NumPy makes of a call, and how that value becomes a Tensor on the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.arguments import plain, tensor_kind, tensors_in
from tinyattn.engine.call import name_of
from tinyattn.engine.dtypes import NAMES, floating
from tinyattn.engine.graph import CONSTANT, Node, mode


def value_of(function: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """Returns what NumPy makes of the call without Tensors."""
    if options:
        return function(*[plain(a) for a in args], **{name: plain(a) for name, a in options.items()})
    return function(*[plain(a) for a in args])


def value_at(function: Any, args: Sequence[Any], options: dict[str, Any], places: Sequence[int]) -> Any:
    """Returns what NumPy makes of a call whose Tensors stand at these places."""
    bare = list(args)
    for i in places:
        bare[i] = bare[i]._value
    return function(*bare, **options)


def record(function: Any, value: Any, parents: Sequence[Node], make: Callable[[Any], Callable[[Any], Sequence[Any]]],
           *, needs_result: bool = False) -> Any:
    """Returns the Tensor of a computed value; `make(result)` gives its pullback, one gradient per parent."""
    if type(value) is not np.ndarray:
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


def as_given(made: Any, original: Any) -> Any:
    """Returns the original where it holds no Tensor: to NumPy a scalar is a scalar, which has no dtype of its own."""
    if not tensors_in((original,)):
        return original
    if isinstance(made, list) and isinstance(original, (list, tuple)):
        return [as_given(m, a) for m, a in zip(made, original, strict=True)]
    return made


def joined(value: Any, built: Any) -> Any:
    """Returns NumPy's value on the graph that the body built, piece by piece where there are several."""
    if isinstance(value, (list, tuple)):
        parts = [joined(v, b) for v, b in zip(value, built, strict=True)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    tensor, array = tensor_kind(), np.asarray(value)
    if not floating(array.dtype):
        return np.array(array)
    if type(built) is not tensor:
        return tensor.of(np.array(array), None)
    return tensor.of(array, (built if built.dtype == array.dtype else built.astype(array.dtype)).node)
