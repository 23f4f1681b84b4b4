"""@primitive: a function that brings its own backward, as a kernel does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any

import numpy as np

from tinyattn.engine.arguments import own
from tinyattn.engine.dtypes import floating
from tinyattn.engine.graph import CONSTANT, PLAIN, Node, Parts, mode, part_of
from tinyattn.engine.tensor import Tensor


class Primitive:
    """A function `f(...) -> (out, saved)` and its backward `(d_out, saved) -> {argument: gradient}`.

    Calling it returns `out` alone. `out` may be a tuple; then `d_out` is one too. Differentiable arguments may be
    positional or keyword-only; a gradient of None, or a name left out, is no gradient. A gradient has exactly the
    shape of its argument, and a floating dtype, which is cast to the argument's.

    Raises:
        TypeError: no backward was given, it names an unknown argument, a gradient is no floating array, or a second
            derivative is asked for.
        ValueError: a gradient of another shape than its argument's.

    >>> @primitive
    ... def cube(x):
    ...     return x ** 3, x
    >>> @cube.backward
    ... def _(d_out, saved):
    ...     return {"x": d_out * 3 * saved ** 2}
    >>> x = Tensor(np.array(2.0))
    >>> cube(x).backward()
    >>> float(x.grad)
    12.0
    """

    def __init__(self, function: Callable[..., tuple[Any, Any]]) -> None:
        self.function = function
        self.signature = inspect.signature(function)
        self.name = function.__name__
        self.pullback: Callable[[Any, Any], Mapping[str, Any]] | None = None
        update_wrapper(self, function)

    def backward(self, pullback: Callable[[Any, Any], Mapping[str, Any]]) -> Callable[[Any, Any], Mapping[str, Any]]:
        """Registers the backward; used as a decorator."""
        self.pullback = pullback
        return pullback

    def __call__(self, *args: Any, **options: Any) -> Any:
        bound = self.signature.bind(*args, **options)
        given = bound.arguments
        names = [name for name, a in given.items() if isinstance(a, Tensor)]
        if not names:
            return self.function(*args, **options)[0]
        live = [name for name in names if given[name].node is not None]
        parents = tuple(given[name].node for name in live)
        recording = bool(live) and mode.current not in (CONSTANT, PLAIN)
        for name, a in given.items():
            given[name] = a._value if isinstance(a, Tensor) else own(a) if recording else a
        out, saved = self.function(*bound.args, **bound.kwargs)
        several = isinstance(out, tuple)
        outs = [np.asarray(o) for o in (out if several else (out,))]
        if mode.current is PLAIN:
            return out
        if not recording:
            made = [Tensor.of(o, None) for o in outs]
            return tuple(made) if several else made[0]
        shapes = [(o.shape, o.dtype) for o in outs]

        def pull(parts: Parts) -> list[Any]:
            d_outs = [parts.by_output.get(i) for i in range(len(shapes))]
            if any(isinstance(g, Tensor) for g in d_outs):
                raise TypeError(f"{self.name} has a first derivative only; "
                                f"differentiate tinyattn.definitions.{self.name} twice instead")
            if self.pullback is None:
                raise TypeError(f"{self.name} has no backward; register one with @{self.name}.backward")
            filled = [np.zeros(shape, dtype) if g is None else g.astype(dtype, copy=False)
                      for g, (shape, dtype) in zip(d_outs, shapes, strict=True)]
            gradients = self.pullback(tuple(filled) if several else filled[0], saved)
            unknown = set(gradients) - set(self.signature.parameters)
            if unknown:
                raise TypeError(f"the backward of {self.name} names unknown arguments: {sorted(unknown)}")
            return [self.checked(gradients.get(name), name, node) for name, node in zip(live, parents, strict=True)]

        joined = Node(None, None, parents, pull)
        made = [Tensor.of(o, Node(o.shape, o.dtype, (joined,), part_of(i))) for i, o in enumerate(outs)]
        return tuple(made) if several else made[0]


    def checked(self, gradient: Any, argument: str, node: Node) -> Any:
        """Returns what the backward gave for an argument if it has that argument's shape and a real floating dtype."""
        said = f"the backward of {self.name}: the gradient of {argument}"
        if gradient is None or isinstance(gradient, float):
            gradient = None if gradient is None else np.asarray(gradient)
        elif not isinstance(gradient, (np.ndarray, np.generic, Tensor)):
            raise TypeError(f"{said} must be a floating array, got {type(gradient).__name__}")
        elif not floating(gradient.dtype):
            raise TypeError(f"{said} must be a floating array, got {gradient.dtype}")
        if gradient is not None and gradient.shape != node.shape:
            raise ValueError(f"{said} must have the argument's shape {node.shape}, got {gradient.shape}")
        return gradient


def primitive(function: Callable[..., tuple[Any, Any]]) -> Primitive:
    """Returns the function as a primitive; see `Primitive`."""
    return Primitive(function)
