"""@primitive: a function that brings its own backward, as kernels do."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from tinyattn.engine.arguments import copied
from tinyattn.engine.dtypes import floating
from tinyattn.engine.grad import check_callable, vjp
from tinyattn.engine.graph import CONSTANT, PLAIN, Node, mode
from tinyattn.engine.record import record_outputs
from tinyattn.engine.sums import Given
from tinyattn.engine.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")
# The functions that second derivatives walk instead of their primitives, for the calls made inside `walking`.
WALKED: ContextVar[Mapping[Any, Callable[..., Any]]] = ContextVar("WALKED")


class Primitive(Generic[P, R]):
    """A function `f(...) -> (out, saved)` with its backward `(d_out, saved) -> {argument: gradient}`; see `primitive`."""

    def __init__(self, function: Callable[P, tuple[R, Any]]) -> None:
        check_callable(function)
        self.function = function
        self.signature = inspect.signature(function)
        # The names of arguments that may all be given by position: binding a call by `inspect` takes 40 us, of 44 calls per step.
        kinds = {parameter.kind for parameter in self.signature.parameters.values()}
        self.names = tuple(self.signature.parameters) if kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD} else ()
        self.name = function.__name__
        self.pullback: Callable[[Any, Any], Mapping[str, Any]] | None = None
        self.gives = False
        self.definition: Callable[..., Any] | None = None
        update_wrapper(self, function)

    def backward(self, pullback: Callable[[Any, Any], Mapping[str, Any]]) -> Callable[[Any, Any], Mapping[str, Any]]:
        """Registers the backward; used as a decorator."""
        self.pullback = pullback
        return pullback

    def backward_giving(self, pullback: Callable[[Any, Any], Mapping[str, Any]]) -> Callable[[Any, Any], Mapping[str, Any]]:
        """Registers a backward that gives its gradients away: each is a new array in memory of its own, which nothing keeps.

        They are then added to in place and handed to the caller without a copy, which takes a sixth of a fast kernel's time.
        """
        self.gives = True
        return self.backward(pullback)

    def again(self, definition: Callable[..., Any]) -> Primitive[P, R]:
        """Returns the same primitive, differentiable any number of times.

        `definition` takes the same arguments and returns the same `out`, by functions that have rules. It is walked in
        place of the backward where the backward itself is differentiated, and nowhere else.

        >>> from tinyattn.engine import grad
        >>> cube = primitive(lambda x: (x ** 3, x))
        >>> _ = cube.backward(lambda d_out, saved: {"x": d_out * 3 * saved ** 2})
        >>> grad(grad(cube.again(lambda x: x ** 3)))(2.0)
        12.0
        """
        made = copy.copy(self)
        made.definition = definition
        return made

    def __call__(self, *args: P.args, **options: P.kwargs) -> R:
        by_place = len(args) == len(self.names) and not options
        if by_place and not any([isinstance(a, Tensor) for a in args]):
            return self.computed(args, options)[0]
        bound = None if by_place else self.signature.bind(*args, **options)
        given = dict(zip(self.names, args, strict=True)) if bound is None else bound.arguments
        tensors = {name: a for name, a in given.items() if isinstance(a, Tensor)}
        if not tensors:
            return self.computed(args, options)[0]
        live = {name: t.node for name, t in tensors.items() if t.node is not None}
        recording = bool(live) and mode.current not in (CONSTANT, PLAIN)
        if recording:
            given.update({name: copied(a) for name, a in given.items()})
        # Tensors are kept only where a second derivative is possible: they keep arrays alive that the backward may not need.
        definition = WALKED.get({}).get(self, self.definition) if recording else None
        inputs = {} if definition is None else dict(given)
        given.update({name: t._value for name, t in tensors.items()})
        out: Any
        out, saved = self.computed(tuple(given.values()), {}) if bound is None else self.computed(bound.args, bound.kwargs)
        if mode.current is PLAIN:
            return out
        outs = [np.asarray(o) for o in (out if isinstance(out, tuple) else (out,))]
        for result in outs:
            if not floating(result.dtype):
                raise TypeError(f"{self.name}: the result must be a floating array, got {result.dtype}")
        shapes = [(o.shape, o.dtype) for o in outs]
        several = isinstance(out, tuple)

        def pull(gs: list[Any]) -> list[Any]:
            full = [np.zeros(shape, dtype) if g is None else g if g.dtype == dtype else g.astype(dtype)
                    for g, (shape, dtype) in zip(gs, shapes, strict=True)]
            d_out = tuple(full) if several else full[0]
            if any(isinstance(g, Tensor) for g in full):
                gradients = self.walked(definition, inputs, list(live), d_out)
            else:
                gradients = self.pulled(d_out, saved)
            parts = [self.checked(gradients.get(name), name, node) for name, node in live.items()]
            return [Given(part) if isinstance(part, np.ndarray) else part for part in parts] if self.gives else parts

        made = record_outputs(outs, list(live.values()) if recording else [], lambda result: pull)
        out = tuple(made) if several else made[0]
        return out

    def computed(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
        """Returns the pair of the function's result and what its backward needs."""
        came = self.function(*args, **options)
        if not isinstance(came, tuple) or len(came) != 2:
            got = f"a tuple of {len(came)}" if isinstance(came, tuple) else type(came).__name__
            raise TypeError(f"{self.name} must return a pair (out, saved), got {got}")
        return came

    def pulled(self, d_out: Any, saved: Any) -> Mapping[str, Any]:
        """Returns the gradients that the backward computes."""
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
        """Returns the gradients as Tensors, by the definition at the same inputs."""
        if definition is None:
            raise TypeError(f"{self.name} has a first derivative only; for a second one differentiate a function that has "
                            f"rules, or name it by {self.name}.again(function)")

        def again(live_inputs: dict[str, Any]) -> Any:
            bound = inspect.BoundArguments(self.signature, inputs | live_inputs)
            return definition(*bound.args, **bound.kwargs)

        gradients: Mapping[str, Any] = vjp(again, {name: inputs[name] for name in live})[1](d_out)
        return gradients

    def checked(self, gradient: Any, argument: str, node: Node) -> Any:
        """Returns the gradient of an argument; raises if it is not a floating array of the argument's shape."""
        said = f"the backward of {self.name}: the gradient of {argument}"
        if gradient is None:
            return None
        if isinstance(gradient, float):
            gradient = np.asarray(gradient)
        if not isinstance(gradient, (np.ndarray, np.generic, Tensor)) or not floating(gradient.dtype):
            raise TypeError(f"{said} must be a floating array, got {getattr(gradient, 'dtype', type(gradient).__name__)}")
        if gradient.shape != node.shape:
            raise ValueError(f"{said} must have the argument's shape {node.shape}, got {gradient.shape}")
        return gradient


@contextmanager
def walking(definitions: Mapping[Primitive[..., Any], Callable[..., Any]]) -> Iterator[None]:
    """Context manager in which second derivatives walk these functions, each instead of its primitive.

    It does what `again` does, for primitives that are called inside other functions.
    """
    token = WALKED.set(definitions)
    try:
        yield
    finally:
        WALKED.reset(token)


def primitive(function: Callable[P, tuple[R, Any]]) -> Primitive[P, R]:
    """Returns a function `f(...) -> (out, saved)` as one that takes Tensors and brings its own backward.

    Calling it returns `out` alone. Its backward `(d_out, saved) -> {argument: gradient}` is registered by the decorator
    `f.backward`. `out` may be a tuple; then `d_out` is one too. Differentiable arguments may be positional or
    keyword-only; an argument has no gradient if its name is left out or its value is None. A gradient has exactly the shape of its
    argument and a floating dtype, from which it is cast to the argument's. The backward is not differentiable: a second
    derivative needs the function that `again` names. A backward registered by `f.backward_giving` gives its new arrays away.

    Raises:
        TypeError: the function does not return a pair, or its result is not a floating array; no backward was
            registered, it does not return a dict or names an unknown argument, or a gradient is not a floating array; a
            second derivative is asked for without `again`.
        ValueError: a gradient has another shape than its argument.

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
    return Primitive(function)
