"""Pictures of a mask: as text for a terminal, as SVG for a page."""

from __future__ import annotations

import html

import numpy as np

from tinyattn.ops.types import Array

SIDE = 12


def check_matrix(visible: Array) -> Array:
    """Returns a boolean matrix; raises ValueError for any other array."""
    if visible.ndim != 2 or visible.dtype != np.bool_:
        raise ValueError(f"visible: expected a boolean matrix (queries, keys), got {visible.dtype} {visible.shape}")
    return visible


def later_keys(visible: Array) -> int:
    """Returns the number of pairs in which a query sees a later key; the last query is at the last key.

    >>> later_keys(np.tri(2, 3, 1, dtype=bool)), later_keys(np.ones((2, 3), dtype=bool))
    (0, 1)
    """
    rows, columns = check_matrix(visible).shape
    return int((visible & ~np.tri(rows, columns, columns - rows, dtype=bool)).sum())


def text(visible: Array) -> str:
    """Returns the mask as lines of text: one row per query, with a filled cell for each key that it sees.

    >>> print(text(np.tri(2, 3, 1, dtype=bool)))
        0 1 2
     0  ■ ■ ·
     1  ■ ■ ■
    """
    rows, columns = check_matrix(visible).shape
    margin = max(len(str(max(rows - 1, 0))), 2)
    head = " " * (margin + 2) + " ".join(str(j)[-1] for j in range(columns))
    lines = [f"{i:>{margin}}  " + " ".join("■" if seen else "·" for seen in row) for i, row in enumerate(visible)]
    return "\n".join([head.rstrip(), *lines])


def svg(visible: Array, *, title: str = "") -> str:
    """Returns the mask as a standalone SVG, readable on light and dark pages; the title is escaped.

    One path draws all visible cells, with one rectangle per run of them, so that a picture of 256 x 256 stays small.

    >>> svg(np.eye(2, dtype=bool), title="<eye>").count("&lt;eye&gt;")
    1
    """
    rows, columns = check_matrix(visible).shape
    runs = []
    for i, row in enumerate(visible):
        edges = np.flatnonzero(np.diff(np.concatenate(([False], row, [False])).astype(np.int8)))
        runs += [f"M{start * SIDE} {i * SIDE}h{(stop - start) * SIDE}v{SIDE}H{start * SIDE}z"
                 for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    width, height = columns * SIDE, rows * SIDE
    grid = "".join(f"M{x * SIDE} 0V{height}" for x in range(columns + 1))
    grid += "".join(f"M0 {y * SIDE}H{width}" for y in range(rows + 1))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 2}" height="{height + 2}" '
            f'viewBox="-1 -1 {width + 2} {height + 2}" role="img"><title>{html.escape(title)}</title>'
            f'<path d="{"".join(runs)}" fill="#3b82c4"/>'
            f'<path d="{grid}" stroke="#8a93a0" stroke-opacity=".45" stroke-width="1" fill="none"/></svg>\n')
