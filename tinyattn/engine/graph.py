"""The graph: who was computed from whom, and the one walk that carries gradients back through it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

import numpy as np

from tinyattn.engine.dtypes import carried

RECORD, CONSTANT, PLAIN = "record", "constant", "plain"


class Mode(threading.local):
    """What an operation on Tensors does in this thread: record itself, not record, or return bare arrays."""

    current = RECORD


mode = Mode()
_births = count()


class Node:
    """One recorded result: its parents and the pullback from its gradient to theirs.

    A node keeps no value. What the pullback must remember, it remembers by closing over it, so that an
    intermediate array dies as soon as nobody's derivative needs it.
    """

    __slots__ = ("__weakref__", "born", "dtype", "grad", "parents", "pullback", "result", "shape")

    def __init__(self, shape: tuple[int, ...] | None, dtype: Any, parents: tuple[Node, ...] = (),
                 pullback: Callable[[Any], Sequence[Any]] | None = None, result: Any = None) -> None:
        self.shape, self.dtype = shape, dtype
        self.parents, self.pullback, self.result = parents, pullback, result
        self.grad: Any = None
        self.born = next(_births)


class Parts:
    """Gradients of some outputs of a function that returns several; adding two of them merges them."""

    __slots__ = ("by_output",)

    def __init__(self, by_output: dict[int, Any]) -> None:
        self.by_output = by_output

    def __add__(self, other: Parts) -> Parts:
        merged = dict(self.by_output)
        for i, g in other.by_output.items():
            merged[i] = merged[i] + g if i in merged else g
        return Parts(merged)


def part_of(i: int) -> Callable[[Any], tuple[Parts]]:
    """Returns the pullback of output i of several."""
    return lambda g: (Parts({i: g}),)


def now() -> int:
    """Returns a number greater than the birth of every node there is, and smaller than that of any to come."""
    return next(_births)


def _spent(d_out: Any) -> Sequence[Any]:
    raise RuntimeError(
        "this graph was walked before and has been freed; run the forward computation again, "
        "or use vjp, whose pullback can be called more than once")


def ancestry(root: Node) -> list[Node]:
    """Returns every node that root was computed from, parents before children, without recursion."""
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent in node.parents if id(parent) not in seen)
    return order


def fit(gradient: Any, node: Node) -> Any:
    """Returns the gradient in the shape of what it belongs to and the dtype that carries it.

    Broadcasting is undone here only: the axes that were stretched are summed, and what is left must be the shape.
    """
    if node.shape is None:
        return gradient
    if gradient.shape == node.shape and gradient.dtype is node.dtype and node.dtype.itemsize > 2:
        return gradient
    if gradient.shape != node.shape:
        came = gradient.shape
        extra = len(came) - len(node.shape)
        stretched = tuple(range(extra)) + tuple(
            extra + axis for axis, size in enumerate(node.shape) if size == 1 and extra >= 0 and came[extra + axis] != 1)
        gradient = np.sum(gradient, axis=stretched, keepdims=True)
        if extra < 0 or gradient.shape[extra:] != node.shape:
            raise ValueError(f"a gradient of shape {came} came back for an array of shape {node.shape}")
        gradient = gradient.reshape(node.shape)
    if gradient.dtype != carried(node.dtype):
        gradient = gradient.astype(carried(node.dtype))
    return gradient


def walk(root: Node, seed: Any, targets: Iterable[Node], *, order: list[Node] | None = None,
         keep: bool = False, graph: bool = False) -> dict[Node, Any]:
    """Returns the gradient of each target that root depends on.

    Each node is visited once, after all its children, so that a diamond of n levels costs n visits. Unless
    `keep`, a node gives up its pullback (and what that remembers) as soon as it has been used. With `graph`
    the gradients are Tensors, recorded like any computation, and can be differentiated again.
    """
    wanted = set(targets)
    order = ancestry(root) if order is None else order
    if any(node.pullback is _spent for node in order):
        _spent(seed)
    useful: set[Node] = set()
    for node in order:
        if node in wanted or any(parent in useful for parent in node.parents):
            useful.add(node)
    found: dict[Node, Any] = {}
    previous, mode.current = mode.current, RECORD if graph else PLAIN
    try:
        gradients: dict[Node, Any] = {root: fit(seed, root)} if root in useful else {}
        with np.errstate(under="ignore"):  # the gradient of a weight of e-300 is 0, whatever np.seterr says
            _walk_back(order, gradients, wanted, useful, found, keep=keep, graph=graph)
    finally:
        mode.current = previous
    return found


def _walk_back(order: list[Node], gradients: dict[Node, Any], wanted: set[Node], useful: set[Node],
               found: dict[Node, Any], *, keep: bool, graph: bool) -> None:
    ours: set[Node] = set()
    while order:
        node = order.pop()
        gradient = gradients.pop(node, None)
        if gradient is None:
            continue
        if node in wanted:
            found[node] = gradient if gradient.dtype == node.dtype else gradient.astype(node.dtype)
        if node.pullback is None:
            continue
        if graph and node.result is not None:
            node.result.node = node
        for parent, part in zip(node.parents, node.pullback(gradient), strict=True):
            if part is None or parent not in useful:
                continue
            part = fit(part, parent)
            if parent not in gradients:
                gradients[parent] = part
            elif parent in ours:
                np.add(gradients[parent], part, out=gradients[parent])
            else:
                gradients[parent] = gradients[parent] + part
                if not graph and parent.shape:
                    ours.add(parent)
        if not keep:
            node.pullback, node.parents, node.result = _spent, (), None
