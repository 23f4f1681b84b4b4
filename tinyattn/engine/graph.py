"""The graph: which result was computed from which, and the one walk that carries gradients back through it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

import numpy as np

from tinyattn.engine.sums import Sums

RECORD, CONSTANT, PLAIN = "record", "constant", "plain"


class Mode(threading.local):
    """What an operation on Tensors does in this thread.

    RECORD adds the result to the graph, CONSTANT gives a Tensor that is on no graph, PLAIN gives a bare array.
    """

    current = RECORD


mode = Mode()
_births = count()


class Node:
    """One recorded result: its parents, and the pullback from its gradient to theirs.

    A node keeps no value. What the pullback needs, it keeps by closing over it, so that an intermediate array is
    freed as soon as no derivative needs it. `shape` is None for the node of a function with several outputs.
    """

    __slots__ = ("__weakref__", "born", "dtype", "grad", "parents", "pullback", "result", "shape")

    def __init__(self, shape: tuple[int, ...] | None, dtype: Any, parents: tuple[Node, ...] = (),
                 pullback: Callable[[Any], Sequence[Any]] | None = None, result: Any = None) -> None:
        self.shape, self.dtype = shape, dtype
        self.parents, self.pullback, self.result = parents, pullback, result
        self.grad: Any = None
        self.born = next(_births)


def now() -> int:
    """Returns a number greater than `born` of every existing node, and smaller than that of every later one."""
    return next(_births)


def _spent(d_out: Any) -> Sequence[Any]:
    raise RuntimeError(
        "this graph was walked before and has been freed; run the forward computation again, "
        "or use vjp, whose pullback can be called more than once")


def ancestry(roots: Sequence[Node], start: int = 0) -> list[Node]:
    """Returns every node that the roots were computed from, parents before children, without recursion.

    The parents of nodes born before `start` are left out: they belong to a graph outside this one.
    """
    order: list[Node] = []
    seen: set[int] = set()
    stack = [(root, False) for root in roots]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            if node.born >= start:
                stack += [(parent, False) for parent in node.parents if id(parent) not in seen]
    return order


def walk(seeds: Sequence[tuple[Node, Any]], targets: Iterable[Node], *, order: list[Node] | None = None,
         keep: bool = False, graph: bool = False) -> tuple[dict[Node, Any], set[Node]]:
    """Returns the gradient of each target that a seeded node depends on, and the targets whose gradient nobody else holds.

    `seeds` are pairs of a node and the gradient to start with there. Each node is visited once, after all nodes that
    were computed from it, so that a diamond of n levels costs n visits. Unless `keep`, a node gives up its pullback,
    and what that keeps alive, as soon as it has been used. With `graph` the gradients are Tensors, recorded like any
    computation, and can be differentiated again.
    """
    order = ancestry([node for node, _ in seeds]) if order is None else order
    if any([node.pullback is _spent for node in order]):
        _spent(seeds)
    wanted = set(targets)
    useful: set[Node] = set()
    for node in order:
        if node in wanted or not useful.isdisjoint(node.parents):
            useful.add(node)
    previous, mode.current = mode.current, RECORD if graph else PLAIN
    try:
        # Whatever np.seterr says: a gradient too small for the dtype becomes 0, and one that is inf or NaN shows in the result.
        with np.errstate(under="ignore", over="ignore", invalid="ignore"):
            return _walk_back(order, Sums(pair for pair in seeds if pair[0] in useful), wanted, useful, keep=keep, graph=graph)
    finally:
        mode.current = previous


def _walk_back(order: list[Node], sums: Sums, wanted: set[Node], useful: set[Node], *, keep: bool,
               graph: bool) -> tuple[dict[Node, Any], set[Node]]:
    found: dict[Node, Any] = {}
    alone: set[Node] = set()
    while order:
        node = order.pop()
        gradient, owned = sums.pop(node)
        if gradient is None:
            continue
        if node in wanted:
            found[node] = gradient if gradient.dtype == node.dtype else gradient.astype(node.dtype)
            if owned and node.pullback is None:  # a pullback may hand on what it gets, in whole or in part
                alone.add(node)
        if node.pullback is None:
            continue
        if graph and node.result is not None:
            node.result.node = node
        for parent, part in zip(node.parents, node.pullback(gradient), strict=True):
            if part is not None and parent in useful:
                sums.add(parent, part)
        if not keep:
            node.pullback, node.parents, node.result = _spent, (), None
    return found, alone
