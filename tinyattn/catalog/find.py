"""Finding a mechanism by any of its names, and the model that a file holds by that of its mechanism."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence

from tinyattn.catalog import (
    delta,
    factored,
    grid,
    linear,
    lowrank,
    positions,
    relative,
    selected,
    softmax,
    solved,
    sparse,
    states,
    weighting,
)
from tinyattn.catalog.row import Row
from tinyattn.models import checkpoint
from tinyattn.models.checkpoint import Saved
from tinyattn.ops.checks import text

FAMILIES = (softmax, weighting, positions, relative, sparse, selected, factored, linear, states, delta, solved, lowrank, grid)
ROWS: tuple[Row, ...] = tuple(row for family in FAMILIES for row in family.ROWS)
MIXERS: tuple[Row, ...] = tuple(row for row in ROWS if row.mixer is not None)


def key(name: str) -> str:
    """Returns a name in the form in which names are compared: in lower case, with spaces instead of hyphens and underscores."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def find(name: str, *, suggested: Sequence[Row] = ROWS) -> Row:
    """Returns the row of a mechanism by its name or an alias, in upper or lower case.

    Raises:
        TypeError: a name that is not a str. ValueError: an unknown name, with the names of the `suggested` rows that come nearest.

    >>> find("GQA").name
    'grouped_query_attention'
    """
    text("name", name)
    names = {key(known): row for row in ROWS for known in (row.name, *row.aliases)}
    if key(name) in names:
        return names[key(name)]
    offered = {key(known): known for row in suggested for known in (row.name, *row.aliases)}
    near = [offered[match] for match in difflib.get_close_matches(key(name), offered, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(row.name for row in suggested)}"
    raise ValueError(f"unknown mechanism {name!r}; {hint}")


def find_mixer(name: str) -> Row:
    """Returns the row of a mechanism that can mix a decoder's tokens, by any of its names.

    Raises:
        ValueError: an unknown name, with those of causal token mixers that come nearest, or a mechanism that cannot
            mix a decoder's tokens.

    >>> find_mixer("RetNet").name
    'retention'
    """
    row = find(name, suggested=MIXERS)
    if row.mixer is None:
        raise ValueError(f"{row.name}: is not a causal token mixer of its own; known: {', '.join(row.name for row in MIXERS)}")
    return row


def load_model(path: str | os.PathLike[str]) -> Saved:
    """Returns (decoder, config, mechanism, state) of a file that `tinyattn train` wrote, with the mechanism that it names.

    Raises:
        ValueError: a file that is no model, an unknown mechanism, and one that mixes no tokens. OSError: a file that cannot be read.

    >>> import tempfile, numpy as np
    >>> from tinyattn.models import Decoder, DecoderConfig, save_training
    >>> config, row = DecoderConfig(layers=1), find_mixer("retention")
    >>> path = os.path.join(tempfile.mkdtemp(), "model")
    >>> save_training(path, Decoder.create(config, np.random.default_rng(0), **row.mixing), config, mechanism=row.name)
    >>> load_model(path).mechanism
    'retention'
    """
    return checkpoint.load_training(path, mixing=lambda name: find_mixer(name).mixing)
