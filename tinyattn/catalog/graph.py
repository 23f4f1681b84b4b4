"""The graph of mechanisms: its edges are the laws that tie one to another."""

from __future__ import annotations

from typing import NamedTuple

from tinyattn.catalog.find import ROWS
from tinyattn.laws.law import Law

KINDS = {
    "exact": "The same numbers, within the rounding that was measured, or bit for bit.",
    "approximate": "An error that falls as something grows, or is bounded.",
    "in distribution": "The same on average over what is drawn at random; one draw is off.",
}


class Edge(NamedTuple):
    """A mechanism, the one that a law ties it to, and the law."""

    mechanism: str
    to: str
    law: Law


def edges() -> tuple[Edge, ...]:
    """Returns every law between two mechanisms, in the order of the catalog.

    Raises:
        ValueError: a law that names a mechanism which is not in the catalog, or a kind that is none.
    """
    names = {row.name for row in ROWS}
    found = tuple(Edge(row.name, law.to, law) for row in ROWS for law in row.laws if law.to is not None)
    for edge in found:
        if edge.to not in names:
            raise ValueError(f"{edge.mechanism}: the law {edge.law.name} ties it to {edge.to!r}, which has no row")
        if edge.law.kind not in KINDS:
            raise ValueError(f"{edge.mechanism}: the law {edge.law.name} is of kind {edge.law.kind!r}, known: {', '.join(KINDS)}")
    return found


def markdown() -> str:
    """Returns docs/equivalences.md: the graph as a picture that Markdown viewers draw, and its laws kind by kind."""
    found = edges()
    tied = {name for edge in found for name in edge[:2]}
    lines = [
        "# Which mechanism is which", "",
        f"{len(ROWS)} mechanisms, {len(found)} laws between them. Every arrow is a law that runs in the tests and by "
        "`tinyattn check NAME`; `tinyattn equivalences` writes this page.", "",
        "```mermaid", "graph LR"]
    arrows = {"exact": "-->", "approximate": "-.->", "in distribution": "==>"}
    pairs = dict.fromkeys((edge.mechanism, edge.to, edge.law.kind) for edge in found)
    lines += [f"  {a} {arrows[kind]} {b}" for a, b, kind in pairs]
    lines += ["```", "", "A line is exact, a dotted line approximate, a thick line in distribution.", ""]
    for kind, means in KINDS.items():
        of_kind = [edge for edge in found if edge.law.kind == kind]
        if of_kind:
            lines += [f"## {kind.capitalize()}", "", means, "", "| mechanism | tied to | by the law |", "|---|---|---|"]
            lines += [f"| `{edge.mechanism}` | `{edge.to}` | {edge.law.says} |" for edge in of_kind]
            lines += [""]
    lines += ["## Forms of one mechanism", "",
              "The same mechanism computed in other ways: each form gives the outputs, and the gradients, of the definition.", "",
              "| mechanism | forms |", "|---|---|"]
    lines += [f"| `{row.name}` | {', '.join(row.forms)} |" for row in ROWS if row.forms]
    alone = [row.name for row in ROWS if row.name not in tied]
    if alone:
        lines += ["", "## Tied to none", "", ", ".join(f"`{name}`" for name in alone)]
    return "\n".join(lines).rstrip() + "\n"
