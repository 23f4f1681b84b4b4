"""@primitive: a function that brings its own backward, as a kernel does."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from tinyattn.engine.arguments import own
from tinyattn.engine.dtypes import floating
from tinyattn.engine.grad import vjp
from tinyattn.engine.graph import CONSTANT, PLAIN, Node, Parts, mode, part_of
from tinyattn.engine.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")
# What second derivatives walk in the place of some primitives, for the calls made inside `walking`.
WALKED: ContextVar[Mapping[Any, Callable[..., Any]]] = ContextVar("WALKED")


class Primitive(Generic[P, R]):
    """A function `f(...) -> (out, saved)` and its backward `(d_out, saved) -> {argument: gradient}`.

    Calling it returns `out` alone. `out` may be a tuple; then `d_out` is one too. Differentiable arguments may be
    positional or keyword-only; None, or a name left out, means that the argument has no gradient. A gradient has exactly
    the shape of its argument and a floating dtype, which is cast to the argument's. The backward is not differentiable
    itself: a second derivative needs the function that `again` names.

    Raises:
        TypeError: the function returns no pair or its result is no floating array; no backward was given, it returns no dict
            or names an unknown argument, or a gradient is no floating array; a second derivative is asked for where `again`
            has named no function.
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

    def __init__(self, function: Callable[P, tuple[R, Any]]) -> None:
        self.function = function
        self.signature = inspect.signature(function)
        self.name = function.__name__
        self.pullback: Callable[[Any, Any], Mapping[str, Any]] | None = None
        self.definition: Callable[..., Any] | None = None
        update_wrapper(self, function)

    def backward(self, pullback: Callable[[Any, Any], Mapping[str, Any]]) -> Callable[[Any, Any], Mapping[str, Any]]:
        """Registers the backward; used as a decorator."""
        self.pullback = pullback
        return pullback

    def again(self, definition: Callable[..., Any]) -> Primitive[P, R]:
        """Returns the same primitive, differentiable any number of times.

        `definition` takes the same arguments and returns the same `out`, in functions that have rules. It is walked in the
        place of the backward wherever the backward is itself differentiated, and only there.

        >>> @primitive
        ... def cube(x):
        ...     return x ** 3, x
        >>> @cube.backward
        ... def _(d_out, saved):
        ...     return {"x": d_out * 3 * saved ** 2}
        >>> from tinyattn.engine import grad
        >>> grad(grad(cube.again(lambda x: x ** 3)))(2.0)
        12.0
        """
        made = copy.copy(self)
        made.definition = definition
        return made

    def __call__(self, *args: P.args, **options: P.kwargs) -> R:
        bound = self.signature.bind(*args, **options)
        given = bound.arguments
        names = [name for name, a in given.items() if isinstance(a, Tensor)]
        if not names:
            return self.computed(args, options)[0]
        live = [name for name in names if given[name].node is not None]
        parents = tuple(given[name].node for name in live)
        recording = bool(live) and mode.current not in (CONSTANT, PLAIN)
        if recording:
            given.update({name: owned(a) for name, a in given.items()})
        # Tensors are kept for a second derivative alone: they would hold what the backward may not need.
        definition = WALKED.get({}).get(self, self.definition) if recording else None
        inputs = {} if definition is None else dict(given)
        given.update({name: a._value for name, a in given.items() if isinstance(a, Tensor)})
        out: Any
        out, saved = self.computed(bound.args, bound.kwargs)
        several = isinstance(out, tuple)
        outs = [np.asarray(o) for o in (out if several else (out,))]
        if mode.current is PLAIN:
            return out
        for result in outs:
            if not floating(result.dtype):
                raise TypeError(f"{self.name}: the result must be a floating array, got {result.dtype}")
        if not recording:
            made = [Tensor.of(o, None) for o in outs]
            out = tuple(made) if several else made[0]
            return out
        shapes = [(o.shape, o.dtype) for o in outs]

        def pull(parts: Parts) -> list[Any]:
            d_outs = [np.zeros(shape, dtype) if (g := parts.by_output.get(i)) is None else g if g.dtype == dtype else g.astype(dtype)
                      for i, (shape, dtype) in enumerate(shapes)]
            d_out = tuple(d_outs) if several else d_outs[0]
            if any(isinstance(g, Tensor) for g in d_outs):
                gradients = self.walked(definition, inputs, live, d_out)
            else:
                gradients = self.pulled(d_out, saved)
            return [self.checked(gradients.get(name), name, node) for name, node in zip(live, parents, strict=True)]

        joined = Node(None, None, parents, pull)
        made = [Tensor.of(o, Node(o.shape, o.dtype, (joined,), part_of(i))) for i, o in enumerate(outs)]
        out = tuple(made) if several else made[0]
        return out

    def computed(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
        """Returns what the function gives, which must be its result and what its backward needs."""
        came = self.function(*args, **options)
        if not isinstance(came, tuple) or len(came) != 2:
            got = f"a tuple of {len(came)}" if isinstance(came, tuple) else type(came).__name__
            raise TypeError(f"{self.name} must return a pair (out, saved), got {got}")
        return came

    def pulled(self, d_out: Any, saved: Any) -> Mapping[str, Any]:
        """Returns the gradients that the backward gives."""
        if self.pullback is None:
            raise TypeError(f"{self.name} has no backward; register one with @{self.name}.backward")
        gradients = self.pullback(d_out, saved)
        if not isinstance(gradients, Mapping):
            raise TypeError(f"the backward of {self.name} must return a dict of gradients by argument, got {type(gradients).__name__}")
        unknown = set(gradients) - set(self.signature.parameters)
        if unknown:
            raise TypeError(f"the backward of {self.name} names unknown arguments: {sorted(unknown)}")
        return gradients

    def walked(self, definition: Callable[..., Any] | None, inputs: dict[str, Any], live: list[str], d_out: Any) -> Mapping[str, Any]:
        """Returns the gradients as Tensors, from the definition at the same inputs."""
        if definition is None:
            raise TypeError(f"{self.name} has a first derivative only; for a second one differentiate a function that has "
                            f"rules, or name it by {self.name}.again(function)")

        def whole(live_inputs: dict[str, Any]) -> Any:
            bound = inspect.BoundArguments(self.signature, inputs | live_inputs)
            return definition(*bound.args, **bound.kwargs)

        gradients: Mapping[str, Any] = vjp(whole, {name: inputs[name] for name in live})[1](d_out)
        return gradients

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


@contextmanager
def walking(definitions: Mapping[Primitive[..., Any], Callable[..., Any]]) -> Iterator[None]:
    """Lets second derivatives of what is called inside walk these functions, each in the place of its primitive.

    It is `again` for primitives that stand inside of the functions that are called.
    """
    token = WALKED.set(definitions)
    try:
        yield
    finally:
        WALKED.reset(token)


def owned(argument: Any) -> Any:
    """Returns the argument with every array that its caller could still write to replaced by a copy, in containers too."""
    if isinstance(argument, dict):
        return {key: owned(item) for key, item in argument.items()}
    if isinstance(argument, (list, tuple)):
        items = [owned(item) for item in argument]
        return type(argument)(*items) if hasattr(argument, "_fields") else type(argument)(items)
    return own(argument)


def primitive(function: Callable[P, tuple[R, Any]]) -> Primitive[P, R]:
    """Returns the function as a primitive; see `Primitive`."""
    return Primitive(function)
