"""The derivatives of an expression, by the rows of the rule table: each row's own function, called with tracers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.table import ROWS
from tinyattn.kernels.rules.expression import D, Node, number, operation, ordered
from tinyattn.kernels.rules.tracer import Tracer, named, refuse


class Slope(Tracer):
    """A tracer whose numbers belong to the operations: those of a derivative are no constants of the rule."""

    def made(self, node: Node, dtype: Any) -> Slope:
        return Slope(node, np.dtype(bool) if node.boolean else dtype, self.constants)

    def nodes(self, function: Any, arguments: Any) -> tuple[tuple[Any, ...], list[Any]]:
        numbers = [number(x) if isinstance(x, (bool, int, float, np.generic)) else x for x in arguments]
        return tuple(x.node if isinstance(x, Tracer) else x for x in numbers), [self.dtype]


FUNCTIONS = {"where": np.where, "clip": np.clip, "nan_to_num": np.nan_to_num}


def slopes(root: Node, wanted: list[Node], dtype: Any) -> list[Node]:
    """Returns the gradients of leaves for the gradient D of the root, each an expression of the leaves and of D."""
    order = ordered([root])
    useful = set()
    for node in order:
        if node in wanted or any(id(a) in useful for a in node.arguments):
            useful.add(id(node))
    sums: dict[int, Node] = {id(root): D}
    found: dict[Node, Node] = {}
    for node in reversed(order):
        gradient = sums.get(id(node))
        if gradient is None:
            continue
        if node in wanted:
            found[node] = operation("add", found[node], gradient) if node in found else gradient
        for n, argument in enumerate(node.arguments):
            if argument is None or argument.boolean or id(argument) not in useful:
                continue
            part = pulled(node, n, gradient, dtype)
            if part is not None:
                known = sums.get(id(argument))
                sums[id(argument)] = part if known is None else operation("add", known, part)
    return [found.get(node, number(0.0)) for node in wanted]


def pulled(node: Node, place: int, gradient: Node, dtype: Any) -> Node | None:
    """Returns what the gradient of an operation adds to that of one of its arguments; None if it adds nothing."""
    function = FUNCTIONS.get(node.op) or getattr(np, node.op)
    row: Any = ROWS[function]
    makers = getattr(row, "makers", None)
    if makers is None:  # its result does not vary with its arguments
        return None
    maker = makers.get(place)
    if maker is None:
        refuse(f"needs the derivative of {named(function)} for its argument {place}, which it does not have")
    given = {name: None if a is None else Slope(a, dtype, []) for name, a in zip(row.call.names, node.arguments, strict=False)}
    given = {name: a for name, a in given.items() if name in maker.names}
    if maker.wants_result:
        given["result"] = Slope(node, dtype, [])
    out = maker.function(**given)(Slope(gradient, dtype, []))
    return None if out is None else out.node if isinstance(out, Tracer) else number(out)
