"""The page of tinyattn heads: a table of all heads, and pictures of what the named ones look at; it needs no server."""

from __future__ import annotations

import html
from collections.abc import Sequence

from tinyattn.models.pretrained.heads import LEAST, Head
from tinyattn.ops.types import Array

STYLE = """body { font: 15px system-ui, sans-serif; margin: 2em auto; max-width: 60em; padding: 0 1em }
table { border-collapse: collapse } td, th { padding: 2px 8px; text-align: right; font-variant-numeric: tabular-nums }
figure { display: inline-block; margin: 0 1em 1em 0 } svg { border: 1px solid #999; background: #fff }"""
# A weight below this is not drawn, and the side of a token in a picture.
FAINT, SIDE = 0.02, 6


def page(name: str, heads: Sequence[Head], pictures: Sequence[tuple[Head, Array]]) -> str:
    """Returns the page as HTML, with everything that it needs in it."""
    header = "".join(f"<th>{title}</th>" for title in ("layer", "head", *LEAST, "called"))
    rows = "\n".join(f"<tr><td>{head.layer}</td><td>{head.head}</td>" + "".join(cell(getattr(head, kind)) for kind in LEAST)
                     + f"<td>{', '.join(head.names)}</td></tr>" for head in heads)
    drawn = "\n".join(f"<figure>{picture(weights)}<figcaption>layer {head.layer}, head {head.head}: {', '.join(head.names)}"
                      f"</figcaption></figure>" for head, weights in pictures)
    limits = ", ".join(f"{kind} from {least}" for kind, least in LEAST.items())
    title = html.escape(f"Heads of {name}")
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head><body>\n'
            f"<h1>{title}</h1>\n<p>Mean weights on the token before, on token 0, within the last 8 tokens, and on what followed the "
            f"earlier copy of a token in 64 random tokens that are written twice. A head is called {limits}.</p>\n"
            f"<h2>What the first heads of each name look at</h2>\n<p>A row per token, a column per token that it looks at.</p>\n"
            f"{drawn}\n"
            f"<h2>All heads</h2>\n<table><tr>{header}</tr>\n{rows}</table>\n</body></html>\n")


def cell(weight: float) -> str:
    """Returns a weight as a cell, the darker the larger it is."""
    return f'<td style="background: rgba(30, 90, 200, {min(weight, 1.0) * 0.7:.2f})">{weight:.2f}</td>'


def picture(weights: Array) -> str:
    """Returns weights (length, length) as a picture in SVG."""
    side = len(weights) * SIDE
    squares = "".join(f'<rect x="{j * SIDE}" y="{i * SIDE}" width="{SIDE}" height="{SIDE}" opacity="{min(float(weight), 1.0):.2f}"/>'
                      for i, row in enumerate(weights) for j, weight in enumerate(row) if weight >= FAINT)
    return f'<svg width="{side}" height="{side}" fill="#123a8c" role="img" aria-label="attention weights">{squares}</svg>'
