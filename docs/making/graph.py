"""The graph of who equals whom: mechanisms in the order of the map, an arc for every law between two of them."""

from __future__ import annotations

import html
import math

from making import lawbook
from tinyattn.catalog import ROWS, find
from tinyattn.catalog.graph import edges

STEP, LEFT, BEND = 26, 240, 420


def arcs() -> list[tuple[int, int, str, str, str]]:
    """Returns from, to, kind, sentence and last run of every law that ties two mechanisms of the catalog."""
    places = {row.name: at for at, row in enumerate(ROWS)}
    return [(places[name], places[to], law.kind, law.says, lawbook.outcome(find(name), law)) for name, to, law in edges()]


def svg() -> str:
    """Returns the graph as SVG whose arcs are links to the law below, and the laws as a list."""
    edges = arcs()
    height = STEP * len(ROWS) + 10
    reach = max((abs(a - b) for a, b, *_ in edges), default=1)
    width = LEFT + 0.75 * BEND + 30
    seen: dict[tuple[int, int], int] = {}
    lines, told = [], []
    for number, (a, b, kind, says, run) in enumerate(edges):
        again = seen[a, b] = seen.get((a, b), -1) + 1
        y0, y1 = STEP * a + 18, STEP * b + 18
        out = LEFT + BEND * math.sqrt(abs(a - b) / reach) + 9 * again
        label = html.escape(f"{ROWS[a].name} to {ROWS[b].name}: {says}")
        path = f"M{LEFT} {y0}C{out} {y0} {out} {y1} {LEFT} {y1}"
        lines.append(f'<a href="#edge-{number}" class="edge {kind.replace(" ", "-")}" data-edge="{number}" data-ends="{a} {b}" '
                     f'aria-label="{label}"><title>{label}</title><path class="touch" d="{path}"/><path class="arc" d="{path}"/></a>')
        told.append(f'<li id="edge-{number}"><a href="mechanisms/{ROWS[a].name}.html">{ROWS[a].name}</a> and '
                    f'<a href="mechanisms/{ROWS[b].name}.html">{ROWS[b].name}</a>, {kind}: <strong>{html.escape(says)}</strong> '
                    f"Last run: {run}.</li>")
    tied = {place for a, b, *_ in edges for place in (a, b)}
    nodes = [f'<a href="mechanisms/{row.name}.html" class="node{"" if at in tied else " alone"}" data-place="{at}">'
             f'<circle cx="{LEFT}" cy="{STEP * at + 18}" r="4"/>'
             f'<text x="{LEFT - 10}" y="{STEP * at + 22}" text-anchor="end">{row.name}</text></a>' for at, row in enumerate(ROWS)]
    return (f'<div class="graphed"><div class="graph"><svg viewBox="0 0 {width:.0f} {height}" style="max-width:{width:.0f}px" '
            f'role="group" aria-label="mechanisms and the laws between them">{"".join(lines)}{"".join(nodes)}</svg></div>'
            f'<p id="edge-said" aria-live="polite">Choose an arc: its law is read out here. A mechanism shows its own arcs.</p></div>'
            f'<ol class="edges" start="1">{"".join(told)}</ol>')
