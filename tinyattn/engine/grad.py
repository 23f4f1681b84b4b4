"""grad, value_and_grad, vjp: derivatives of a function with respect to its first argument, a tree."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from tinyattn.engine.dtypes import NAMES, floating
from tinyattn.engine.graph import RECORD, Node, ancestry, mode, now, walk
from tinyattn.engine.tensor import Tensor, seed_for
from tinyattn.engine.through import entered
from tinyattn.engine.tree import differentiable, holds_floating, leaves, map_tree, named_leaves

X = TypeVar("X", bound=Any)  # the first argument, a tree, and its gradient
P = ParamSpec("P")
R = TypeVar("R")


class Trace:
    """One run of f with Tensors in the place of x's leaves, and the way back."""

    def __init__(self, f: Callable[..., Any], x: Any, rest: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.scalar = isinstance(x, float)
        self.start = now()
        self.x = np.asarray(x) if self.scalar else x
        previous, mode.current = mode.current, RECORD
        try:
            self.entered = map_tree(enter, self.x)
            self.out = f(self.entered, *rest, **options)
        finally:
            mode.current = previous
        self.known: tuple[list[Node], list[Node]] = [], []
        self.inputs = [t.node for t in leaves(self.entered) if isinstance(t, Tensor) and t.node is not None]

    def pull(self, pairs: list[tuple[Any, Any]], *, keep: bool) -> Any:
        """Returns the gradients of x's leaves in x's tree, from pairs of an output and the gradient to start with there.

        They are arrays, or Tensors where x or f holds Tensors of a graph outside.
        """
        pairs = [(out, seed) for out, seed in pairs if isinstance(out, Tensor) and out.node is not None]
        order = self.order([out.node for out, _ in pairs])
        outer = self.reaches_out(order) or any(isinstance(seed, Tensor) for _, seed in pairs)
        seeds = [(out.node, Tensor.of(seed, None) if outer and not isinstance(seed, Tensor) else seed) for out, seed in pairs]
        found, alone = walk(seeds, self.inputs, order=order, keep=keep or outer, graph=outer)

        def gradient(leaf: Any, given: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return given
            g = None if leaf.node is None else found.get(leaf.node)
            if outer and g is not None:
                return g
            g = np.zeros(leaf.shape, leaf.dtype) if g is None else g if leaf.node in alone else np.array(g)
            return g[()] if isinstance(given, np.generic) else g

        result = map_tree(gradient, self.entered, self.x)
        return float(result) if self.scalar and not outer else result

    def order(self, roots: list[Node]) -> list[Node]:
        """Returns the ancestry of nodes of this run; that of the last ones that were asked for is known."""
        if self.known[0] != roots:
            self.known = roots, ancestry(roots, self.start)
        return [*self.known[1]]

    def reaches_out(self, order: list[Node]) -> bool:
        """Returns whether a Tensor made before this run is among the ancestors: then a graph outside needs ours."""
        return any([node.born < self.start for node in order])

    def leave(self, tree: Any) -> Any:
        """Returns a tree of results in which the Tensors that belong only to this run are replaced by their arrays."""
        def value(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            if leaf.node is not None and self.reaches_out(self.order([leaf.node])):
                return leaf
            return leaf._value[()]

        return map_tree(value, tree)


def enter(leaf: Any) -> Any:
    """Returns the Tensor that stands for a leaf of x; an outer Tensor stays connected to its own graph."""
    if isinstance(leaf, Tensor):
        return entered(leaf)
    return Tensor(leaf) if differentiable(leaf) else leaf


def check_differentiable(x: Any) -> None:
    """Raises TypeError when x holds nothing to differentiate, or holds floating arrays where no tree shows them."""
    for name, leaf in named_leaves(x):
        if not differentiable(leaf) and holds_floating(leaf):
            raise TypeError(f"x{'.' * bool(name)}{name}: a {type(leaf).__name__} holds floating arrays and is not a tree; "
                            f"put them in a dict, list, tuple, NamedTuple or dataclass")
    if not isinstance(x, float) and not any(differentiable(leaf) for leaf in leaves(x)):
        kinds = sorted({str(leaf.dtype) if isinstance(leaf, np.ndarray) else type(leaf).__name__ for leaf in leaves(x)})
        raise TypeError(f"x: expected a tree with at least one floating array ({NAMES}), "
                        f"got only {', '.join(kinds) or 'an empty tree'}")


def described(result: Any) -> str:
    """Returns the name by which a message calls what a function returned: None, True and False as they are, all else by its type."""
    return repr(result) if result is None or isinstance(result, bool) else f"a {type(result).__name__}"


def check_callable(f: object) -> None:
    """Raises TypeError for an object that cannot be called."""
    if not callable(f):
        raise TypeError(f"f: expected a function, got {type(f).__name__}")


def value_and_grad(f: Callable[Concatenate[X, P], R], *, has_aux: bool = False) -> Callable[Concatenate[X, P], tuple[R, X]]:
    """Returns a function that gives the pair (value of f, gradient of f with respect to its first argument).

    With `has_aux`, f returns `(loss, aux)` and the value is that pair. The first argument is a tree: a dict, list,
    tuple, NamedTuple or dataclass, or a leaf. Floating arrays, NumPy's floating scalars and Tensors in it are
    differentiated; the gradient's tree has everything else unchanged. The gradient of an input that f does not use is 0.

    Raises:
        ValueError: f returns something other than a scalar (None, a container, a bool), or with `has_aux` not a pair.
        TypeError: f is not a function; the first argument holds no floating array, or one in an object that is not a tree.

    >>> value_and_grad(lambda w: (w["a"] ** 2).sum())({"a": np.array([1.0, 2.0])})
    (np.float64(5.0), {'a': array([2., 4.])})
    """
    check_callable(f)

    @wraps(f)
    def both(x: X, /, *rest: P.args, **options: P.kwargs) -> tuple[R, X]:
        check_differentiable(x)
        trace = Trace(f, x, rest, options)
        if has_aux and not (isinstance(trace.out, tuple) and len(trace.out) == 2):
            raise ValueError(f"with has_aux, f must return a pair (loss, aux), got {described(trace.out)}")
        loss, aux = trace.out if has_aux else (trace.out, None)
        if isinstance(loss, (Tensor, np.ndarray, np.generic)):
            if loss.shape != ():
                raise ValueError(f"f must return a scalar to have a gradient, got shape {loss.shape}; vjp takes results of any shape")
            if not floating(loss.dtype):
                raise TypeError(f"f must return a floating scalar, got {loss.dtype}")
        elif isinstance(loss, bool) or not isinstance(loss, (int, float)):
            raise ValueError(f"f must return a scalar to have a gradient, got {described(loss)}; vjp takes other results")
        value = trace.leave((loss, aux) if has_aux else loss)
        pairs = [(loss, np.ones((), loss.dtype))] if isinstance(loss, Tensor) else []
        return value, trace.pull(pairs, keep=False)

    return both


def grad(f: Callable[Concatenate[X, P], Any]) -> Callable[Concatenate[X, P], X]:
    """Returns a function that gives the gradient of f with respect to its first argument; see `value_and_grad`.

    >>> grad(grad(lambda x: x ** 3))(2.0)
    12.0
    """
    both = value_and_grad(f)

    @wraps(f)
    def gradient(x: X, /, *rest: P.args, **options: P.kwargs) -> X:
        return both(x, *rest, **options)[1]

    return gradient


def vjp(f: Callable[Concatenate[X, P], R], x: X, *rest: P.args, **options: P.kwargs) -> tuple[R, Callable[[R], X]]:
    """Returns f(x), which may have any shape, and its pullback: from the gradient of the result to that of x.

    The pullback takes a tree like the result, and can be called more than once. It walks back once, however many
    arrays the result has.

    Raises:
        ValueError: f returns no floating array; the pullback is given another tree, or another shape, than f returned.
        TypeError: f is not a function; x holds no floating array; the pullback is given another dtype than f returned.

    >>> out, pullback = vjp(lambda x: x * x, np.array([1.0, 3.0]))
    >>> pullback(np.array([1.0, 10.0]))
    array([ 2., 60.])
    """
    check_callable(f)
    check_differentiable(x)
    trace = Trace(f, x, rest, options)
    if not any(isinstance(leaf, float) or differentiable(leaf) for leaf in leaves(trace.out)):
        raise ValueError(f"f must return at least one floating array, got {described(trace.out)}")

    def pullback(d_out: Any) -> Any:
        pairs: list[tuple[Any, Any]] = []
        try:
            map_tree(lambda out, d: pairs.append((out, d)), trace.out, d_out)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ValueError(f"d_out: expected a tree like f's result, {described(trace.out)}, "
                             f"got {described(d_out)}") from None
        return trace.pull([(out, d if isinstance(d, Tensor) else seed_for(out, d)) for out, d in pairs
                           if isinstance(out, Tensor)], keep=True)

    return trace.leave(trace.out), pullback
