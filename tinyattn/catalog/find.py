"""Finding a mechanism by any of its names."""

from __future__ import annotations

import difflib

from tinyattn.catalog import (
    contextual,
    dual_chunk,
    features,
    image,
    latent,
    linear,
    local,
    lowrank,
    recurrent,
    selected,
    softmax,
    sparse,
    spatial,
    variants,
    windows,
)
from tinyattn.catalog.row import Row

FAMILIES = (softmax, variants, contextual, dual_chunk, latent, sparse, local, selected, linear, features, recurrent, lowrank,
            windows, spatial, image)
ROWS: tuple[Row, ...] = tuple(row for family in FAMILIES for row in family.ROWS)


def find(name: str) -> Row:
    """Returns the row of a mechanism by its name or an alias.

    Raises:
        ValueError: an unknown name, with the names that come nearest.

    >>> find("gqa").name
    'grouped_query_attention'
    """
    names = {known: row for row in ROWS for known in (row.name, *row.aliases)}
    if name in names:
        return names[name]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(row.name for row in ROWS)}"
    raise ValueError(f"unknown mechanism {name!r}; {hint}")
