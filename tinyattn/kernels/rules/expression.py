"""What a rule computes, as a graph of operations: each node an operation, its arguments, and whether it is a number or a bool."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np


class Node(NamedTuple):
    """An operation on other nodes. A leaf has none: "s", "i", "j", "d" (the gradient that arrives), a parameter or a number.

    `value` is the number of a parameter or of a constant of the rule ("p", "c"), or a number that belongs to the operation
    itself ("n"): an exponent, or one that a derivative brings.
    """

    op: str
    arguments: tuple[Any, ...] = ()
    value: float | None = None
    boolean: bool = False


S, Q, K, D = Node("s"), Node("i"), Node("j"), Node("d")
BOOLEAN = frozenset({"isfinite", "isnan", "isinf", "isposinf", "isneginf", "signbit", "equal", "not_equal", "less", "less_equal",
                     "greater", "greater_equal", "logical_and", "logical_or", "logical_not", "logical_xor"})


def number(value: Any) -> Node:
    """Returns a number that belongs to an operation."""
    return Node("n", value=float(value), boolean=isinstance(value, (bool, np.bool_)))


def operation(op: str, *arguments: Node | None) -> Node:
    """Returns an operation on nodes; one on numbers alone is computed, and one without effect, such as x + 0, is left out."""
    if op == "where" and arguments[0] is not None and arguments[0].op == "n":
        chosen = arguments[1] if arguments[0].value else arguments[2]
        if chosen is not None:
            return chosen
    if all(a is not None and a.op == "n" for a in arguments):
        with np.errstate(all="ignore"):
            return number(getattr(np, op)(*[bool(a.value) if a.boolean else a.value for a in arguments if a is not None]))
    if op == "multiply" or op == "divide":
        for one, other in (arguments, arguments[::-1])[: 2 if op == "multiply" else 1]:
            if other is not None and other.op == "n" and other.value == 1.0 and one is not None and not one.boolean:
                return one
    return Node(op, arguments, boolean=op in BOOLEAN or (op == "where" and all(a is not None and a.boolean for a in arguments)))


def ordered(roots: Iterable[Node]) -> list[Node]:
    """Returns every node that the roots are computed from, arguments before what they are arguments of."""
    order: dict[int, Node] = {}
    stack = [(root, False) for root in roots]
    while stack:
        node, done = stack.pop()
        if done or not node.arguments:
            order.setdefault(id(node), node)
        elif id(node) not in order:
            stack.append((node, True))
            stack.extend([(a, False) for a in node.arguments if a is not None])
    return list(order.values())


def lines(roots: list[Node]) -> Iterator[str]:
    """Yields the expressions as text, one line per operation: two rules that differ in constants alone have the same lines.

    >>> list(lines([Node("add", (S, Node("multiply", (Q, Q))))]))
    ['i', 'multiply 0 0', 's', 'add 2 1', 'out 3']
    """
    known: dict[int, int] = {}
    for n, node in enumerate(order := ordered(roots)):
        known[id(node)] = n
        value = "" if node.value is None else f" {int(node.value) if node.op in 'pc' else node.value.hex()}"
        yield " ".join((node.op + value, *("-" if a is None else str(known[id(a)]) for a in node.arguments)))
    if order:
        yield " ".join(("out", *(str(known[id(root)]) for root in roots)))
