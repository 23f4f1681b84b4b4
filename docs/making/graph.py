"""The page of who equals whom: a family tree of the mechanisms in which a law ties each to the one above it, and all those laws."""

from __future__ import annotations

import html
from collections import deque

from making import lawbook
from tinyattn.catalog import find
from tinyattn.catalog.graph import KINDS, Edge, Family, edges, families
from tinyattn.catalog.row import Row

ROOTS = ("attention", "linear_attention")


def distances(kinds: tuple[str, ...]) -> dict[str, int]:
    """Returns how many laws of these kinds lead from the nearest root to each mechanism that such laws reach."""
    tied: dict[str, list[str]] = {}
    for name, to, law in edges():
        if law.kind in kinds:
            tied.setdefault(name, []).append(to)
            tied.setdefault(to, []).append(name)
    far = dict.fromkeys(ROOTS, 0)
    waiting = deque(ROOTS)
    while waiting:
        here = waiting.popleft()
        for there in tied.get(here, []):
            if there not in far:
                far[there] = far[here] + 1
                waiting.append(there)
    return far


def parents() -> dict[str, tuple[str, str]]:
    """Returns the mechanism above each one in the tree, and the kind of the law between the two.

    The law is exact where exact laws lead to a root; the mechanism above is one law nearer to the root. Among several, one of the
    same family comes first, then one that the mechanism's own laws name. Roots and mechanisms without such laws have none.

    >>> parents()["gated_delta_rule"]
    ('delta_rule', 'exact')
    """
    home = {row.name: family.name for family in families() for row in family.rows}
    exact, any_kind = distances(("exact",)), distances(tuple(KINDS))
    found: dict[str, tuple[tuple[bool, ...], str, str]] = {}
    for name, to, law in edges():
        for here, there, own in ((name, to, True), (to, name, False)):
            far = exact if here in exact else any_kind
            if here in ROOTS or (here in exact and law.kind != "exact") or far.get(there, len(home)) != far.get(here, 0) - 1:
                continue
            rank = (home[here] != home[there], not own)
            if here not in found or rank < found[here][0]:
                found[here] = (rank, there, law.kind)
    return {name: (above, kind) for name, (_, above, kind) in found.items()}


def linked(name: str) -> str:
    """Returns a mechanism's name as a link to its laws, which the page's script shows beside the tree."""
    return f'<a class="node" href="#laws-of-{name}" data-name="{name}">{name}</a>'


def tree(family: Family, above: dict[str, tuple[str, str]]) -> str:
    """Returns a family as nested lists; a mechanism of another family stands above those of this one that are cases of it."""
    own = [row.name for row in family.rows]
    outside = list(dict.fromkeys(above[name][0] for name in own if name in above and above[name][0] not in own))

    def below(name: str) -> str:
        cases = [item(case) for case in own if case in above and above[case][0] == name]
        return f"<ul>{''.join(cases)}</ul>" if cases else ""

    def item(name: str) -> str:
        kind = above[name][1].replace(" ", "-") if name in above else "first"
        note = "" if name in above or name in ROOTS else "<span>no law ties it to another</span>"
        return f'<li class="{kind}">{linked(name)}{note}{below(name)}</li>'

    tops = [item(name) for name in own if name not in above]
    tops += [f'<li class="outside"><span>from <a href="#laws-of-{name}" data-name="{name}">{name}</a></span>{below(name)}</li>'
             for name in outside]
    return f'<ul class="tree">{"".join(tops)}</ul>'


def told(number: int, edge: Edge) -> str:
    """Returns a law as an item of the list of all laws, with the names of both mechanisms and the last run."""
    name, to, law = edge
    ends = " and ".join(f'<a href="mechanisms/{end}.html">{end}</a>' for end in (name, to))
    return (f'<li id="edge-{number}" class="edge {law.kind.replace(" ", "-")}" data-ends="{name} {to}">{ends}, {law.kind}: '
            f"<strong>{html.escape(law.says)}</strong> Last run: {lawbook.outcome(find(name), law)}.</li>")


def laws_of(row: Row, numbered: list[tuple[int, Edge]]) -> str:
    """Returns the laws that a mechanism itself states, and links to the mechanisms whose laws name it."""
    own = [told(number, edge) for number, edge in numbered if edge.mechanism == row.name]
    others = dict.fromkeys(edge.mechanism for _, edge in numbered if edge.to == row.name)
    named = f"<p>Laws of {', '.join(map(linked, others))} name it too.</p>" if others else ""
    listed = f"<ul>{''.join(own)}</ul>" if own else ""
    return (f'<section id="laws-of-{row.name}"><h4><a href="mechanisms/{row.name}.html">{row.name}</a></h4>'
            f"{listed}{named or ('' if own else '<p>No law ties it to another mechanism.</p>')}</section>")


def choices(found: list[Family]) -> str:
    """Returns a list from which one mechanism is chosen, its families as groups; the page's script shows it."""
    groups = "".join(f'<optgroup label="{family.name}">{"".join(f"<option>{row.name}</option>" for row in family.rows)}</optgroup>'
                     for family in found)
    return (f'<div class="focus" hidden><label>mechanism <select><option value="">choose one</option>{groups}</select></label>'
            f'<button type="button" aria-pressed="false" disabled>show only what it is tied to</button></div>')


def markup() -> str:
    """Returns the legend, the families as trees, the place where the laws of a chosen mechanism are shown, and all laws.

    A family folds. The page's script folds all trees on a phone; the laws are folded until a reader opens them.
    """
    above, numbered, found = parents(), list(enumerate(edges())), families()
    legend = "".join(f'<li class="{kind.replace(" ", "-")}"><strong>{kind}</strong>: {html.escape(means)}</li>'
                     for kind, means in KINDS.items())
    buttons = "".join(f'<button type="button" data-family="{name}" aria-pressed="{str(not name).lower()}">{name or "all"}</button>'
                      for name in ("", *(family.name for family in found)))
    groups = "".join(f'<details class="family" data-family="{family.name}" open><summary><h3>{family.name.capitalize()}</h3> '
                     f"<span>{html.escape(family.says)} ({len(family.rows)})</span></summary>{tree(family, above)}</details>"
                     for family in found)
    laws = "".join(f'<details data-family="{family.name}"><summary><h3>Laws of the family {family.name}</h3></summary>'
                   f"{''.join(laws_of(row, numbered) for row in family.rows)}</details>" for family in found)
    return (f'<ul class="legend">{legend}</ul>{choices(found)}'
            f'<div class="families" role="group" aria-label="families shown" hidden>{buttons}</div>'
            f'<div class="graphed"><div class="graph">{groups}</div><div class="chosen-laws" tabindex="0" role="region" '
            f'aria-label="laws of the chosen mechanism" hidden><p id="edge-said" aria-live="polite">Choose a mechanism: its laws are '
            f'listed here, and those that it is tied to are marked.</p><ul></ul></div></div>'
            f'<h2>All laws</h2><div class="edges">{laws}</div>')
