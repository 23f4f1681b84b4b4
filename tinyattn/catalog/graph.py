"""The graph of mechanisms, whose edges are the laws that compare one mechanism with another."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from tinyattn.catalog.find import FAMILIES, ROWS
from tinyattn.catalog.row import Row
from tinyattn.laws.law import Law

KINDS = {
    "exact": "The same numbers, bit for bit or within the rounding error that was measured.",
    "approximate": "The error is bounded, or falls as something grows.",
    "in distribution": "The same on average over what is drawn at random; a single draw differs.",
}


class Family(NamedTuple):
    """The mechanisms of one file of the catalog: its name, what that file says of them, and its rows."""

    name: str
    says: str
    rows: tuple[Row, ...]


class Edge(NamedTuple):
    """A mechanism, the one to which a law compares it, and the law."""

    mechanism: str
    to: str
    law: Law


def families() -> list[Family]:
    """Returns the families in the order of the catalog.

    >>> families()[0].name, families()[0].says
    ('softmax', 'Exact softmax attention')
    """
    found = []
    for module in FAMILIES:
        says = (module.__doc__ or "").splitlines()[0].removeprefix("Rows of ").rstrip(".").split(":")[0].split(", ")[0]
        found.append(Family(module.__name__.rpartition(".")[2], says[0].upper() + says[1:], module.ROWS))
    return found


def edges() -> tuple[Edge, ...]:
    """Returns all laws between two mechanisms, in the order of the catalog.

    Raises:
        ValueError: a law names a mechanism that is not in the catalog, or an unknown kind.
    """
    names = {row.name for row in ROWS}
    found = tuple(Edge(row.name, law.to, law) for row in ROWS for law in row.laws if law.to is not None)
    for edge in found:
        if edge.to not in names:
            raise ValueError(f"{edge.mechanism}: the law {edge.law.name} ties it to {edge.to!r}, which has no row")
        if edge.law.kind not in KINDS:
            raise ValueError(f"{edge.mechanism}: the law {edge.law.name} is of kind {edge.law.kind!r}, known: {', '.join(KINDS)}")
    return found


def neighbours(name: str) -> tuple[Edge, ...]:
    """Returns the laws that tie a mechanism to another, its own first.

    >>> neighbours("softmax_off_by_one_attention")[0].to
    'attention'
    """
    found = edges()
    return tuple(edge for edge in found if edge.mechanism == name) + tuple(edge for edge in found if edge.to == name)


def walk(start: str, goal: str) -> tuple[Edge, ...] | None:
    """Returns the fewest laws that lead from one mechanism to another, None if none do; exact laws before others.

    A law is walked in either direction, since it says that two mechanisms are equal for certain arguments.

    >>> [edge.to for edge in walk("multi_query_attention", "grouped_query_attention")]
    ['grouped_query_attention']
    """
    came: dict[str, tuple[Edge, ...]] = {start: ()}
    waiting = deque([start])
    while waiting and goal not in came:
        here = waiting.popleft()
        for edge in sorted(neighbours(here), key=lambda edge: list(KINDS).index(edge.law.kind)):
            there = edge.to if edge.mechanism == here else edge.mechanism
            if there not in came:
                came[there] = (*came[here], edge)
                waiting.append(there)
    return came.get(goal)


def markdown() -> str:
    """Returns docs/equivalences.md: the graph as a Mermaid diagram, with a frame around each family, and its laws by kind."""
    found = edges()
    tied = {name for edge in found for name in edge[:2]}
    lines = [
        "# Table of equivalences", "",
        f"There are {len(found)} laws between {len(ROWS)} mechanisms. The tests run all of them, and `tinyattn check NAME` those "
        "of one mechanism; `tinyattn equivalences` writes this page.", "",
        "```mermaid", "graph LR"]
    for family in families():
        inside = [row.name for row in family.rows if row.name in tied]
        lines += [f'  subgraph {family.name}_family ["{family.says}"]', *(f"    {name}" for name in inside), "  end"]
    arrows = {"exact": "-->", "approximate": "-.->", "in distribution": "==>"}
    pairs = dict.fromkeys((edge.mechanism, edge.to, edge.law.kind) for edge in found)
    lines += [f"  {a} {arrows[kind]} {b}" for a, b, kind in pairs]
    lines += ["```", "", "Each arrow is one or more laws: a solid one is exact, a dotted one approximate, a thick one holds in "
              "distribution.", ""]
    for kind, means in KINDS.items():
        of_kind = [edge for edge in found if edge.law.kind == kind]
        if of_kind:
            lines += [f"## {kind.capitalize()}", "", means, "", "| mechanism | compared with | law |", "|---|---|---|"]
            lines += [f"| `{edge.mechanism}` | `{edge.to}` | {edge.law.says} |" for edge in of_kind]
            lines += [""]
    lines += ["## Forms of one mechanism", "",
              "Other ways to compute the same mechanism: each form has the outputs and the gradients of the definition.", "",
              "| mechanism | forms |", "|---|---|"]
    lines += [f"| `{row.name}` | {', '.join(row.forms)} |" for row in ROWS if row.forms]
    alone = [row.name for row in ROWS if row.name not in tied]
    if alone:
        lines += ["", "## Without a law to another mechanism", "", ", ".join(f"`{name}`" for name in alone)]
    return "\n".join(lines).rstrip() + "\n"
