"""How the gradients that arrive at one array are added up: broadcasting undone, slices added in place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tinyattn.engine.dtypes import carried


class Placed:
    """A gradient that is 0 except in some parts, which are pairs of a gradient and the index that it belongs to.

    The gradient of `x[index]` has a single part. If it were an array of the size of x, the walk back through a loop over n
    slices would take time that grows with the square of n.
    """

    __slots__ = ("parts",)

    def __init__(self, parts: list[tuple[Any, Any]]) -> None:
        self.parts = parts


class Given:
    """A gradient that has just been made and that nobody else holds: it may be added to in place, and handed out as it is."""

    __slots__ = ("gradient",)

    def __init__(self, gradient: Any) -> None:
        self.gradient = gradient


def add_at(total: Any, index: Any, part: Any) -> None:
    """Adds part to total[index] in place; where an index is repeated, all of its parts are added."""
    axes = index if isinstance(index, tuple) else (index,)
    if all(isinstance(i, (int, np.integer, slice, type(None), type(...))) for i in axes):
        total[index] += part
    elif not isinstance(index, np.ndarray) or index.dtype.kind not in "iu":
        np.add.at(total, index, part)
    elif total.ndim == 1:
        np.add.at(total, index.reshape(-1), part.reshape(-1))  # NumPy is fast for one flat index, 2 ns per element
    elif part.size > 4096:
        # Rows of an embedding. Sorted and summed by runs: 6 times faster than np.add.at on 2048 rows of 128.
        places = index.astype(np.intp).reshape(-1)  # a sum of two uint8 or int8 would overflow
        flat = np.where(places < 0, places + len(total), places)
        order = np.argsort(flat, kind="stable")
        chosen, starts = np.unique(flat[order], return_index=True)
        total[chosen] += np.add.reduceat(part.reshape(len(flat), *total.shape[1:])[order], starts, axis=0)
    else:
        np.add.at(total, index, part)


def fit(gradient: Any, node: Any) -> Any:
    """Returns the gradient in the shape of the node's array and in the dtype that carries it.

    Broadcasting is undone here only: the axes that were stretched are summed, and what is left must be the shape.
    """
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


class Sums:
    """The sum of the gradients that have arrived at each node so far.

    A part may share memory with other arrays, unless it was given away, so that the first sum is a new array; that one is
    then added to in place.
    """

    def __init__(self, seeds: Iterable[tuple[Any, Any]]) -> None:
        self.totals: dict[Any, Any] = {}
        self.owned: set[Any] = set()
        for node, seed in seeds:
            self.add(node, seed)

    def add(self, node: Any, part: Any) -> None:
        """Adds what one pullback gives to the node's sum."""
        if type(part) is Placed:
            for gradient, index in part.parts:
                add_at(self.writable(node), index, gradient)
        elif type(part) is dict:  # gradients of single outputs, by their number; each output gives its own once
            self.totals.setdefault(node, {}).update(part)
        else:
            given = type(part) is Given
            part = fit(part.gradient if given else part, node)
            total = self.totals.get(node)
            if total is None:
                self.totals[node] = part
                if given:
                    self.owned.add(node)
            elif type(part) is not np.ndarray or type(total) is not np.ndarray:
                self.own(node, total + part)
            elif node in self.owned:
                np.add(total, part, out=total)
            else:
                self.own(node, np.add(total, part, out=part) if given else total + part)

    def writable(self, node: Any) -> Any:
        """Returns the node's sum as an array that may be written to."""
        if node not in self.owned:
            total = self.totals.get(node)
            self.own(node, np.zeros(node.shape, carried(node.dtype)) if total is None else np.array(total))
        return self.totals[node]

    def own(self, node: Any, total: Any) -> None:
        """Takes a new array as the node's sum; Tensors and NumPy's scalars cannot be written to."""
        self.totals[node] = total
        if type(total) is np.ndarray:
            self.owned.add(node)

    def pop(self, node: Any) -> tuple[Any, bool]:
        """Returns the node's sum, None if nothing has arrived, and whether nobody else holds it; forgets both."""
        owned = node in self.owned
        self.owned.discard(node)
        return self.totals.pop(node, None), owned
