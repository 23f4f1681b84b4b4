"""What NumPy makes of a call, and how that value becomes a Tensor on the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.arguments import bare, tensor_kind
from tinyattn.engine.call import name_of
from tinyattn.engine.dtypes import NAMES, floating
from tinyattn.engine.graph import CONSTANT, Node, mode

Pullback = Callable[[Any], Sequence[Any]]


def value_of(function: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
    """Returns what NumPy makes of the call without Tensors."""
    return function(*[bare(a) for a in args], **{name: bare(a) for name, a in options.items()})


def value_at(function: Any, args: Sequence[Any], options: dict[str, Any], places: Sequence[int]) -> Any:
    """Returns what NumPy makes of a call whose only Tensors stand at these places."""
    arrays = list(args)
    for i in places:
        arrays[i] = arrays[i]._value
    return function(*arrays, **options)


def record(function: Any, value: Any, parents: Sequence[Node], make: Callable[[Any], Pullback],
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


def record_outputs(values: Sequence[np.ndarray[Any, Any]], parents: Sequence[Node],
                   make: Callable[[Any], Pullback]) -> list[Any]:
    """Returns the Tensors of a function with several outputs; outputs that are not floating stay arrays.

    The pullback takes a list with the gradient of each output, None for one that was not used, and gives one gradient
    per parent. It runs once per walk, however many outputs were used.
    """
    tensor, count = tensor_kind(), len(values)
    if mode.current is CONSTANT or not parents:
        return [tensor.of(value, None) if floating(value.dtype) else value for value in values]
    pull = make(None)
    every_output = Node(None, None, tuple(parents), lambda by_output: pull([by_output.get(i) for i in range(count)]))

    def output(i: int, value: np.ndarray[Any, Any]) -> Any:
        if not floating(value.dtype):
            return value
        return tensor.of(value, Node(value.shape, value.dtype, (every_output,), lambda g: ({i: g},)))

    return [output(i, value) for i, value in enumerate(values)]
