"""One row per mechanism: what it is, where it is from, what it costs, what must hold of it.

Its files, in reading order:

    row.py                  what a row must have
    softmax.py              exact attention
    variants.py             attention with one thing changed
    contextual.py           spans and counted positions
    latent.py               latent attention
    linear.py               linear attention
    features.py             linear attention by its features
    recurrent.py            states that fade or are corrected
    dual_chunk.py           positions below a bound
    lowrank.py              a shorter middle
    windows.py              windows of a grid
    spatial.py              lines and neighbourhoods of a grid
    image.py                a gate, and positions in two dimensions
    sparse.py               patterns, tables of blocks
    local.py                windows with something beside them
    selected.py             keys that queries choose
    caches.py               caches: bytes, and what they cannot do
    blocks.py               mechanisms of a grid as blocks of an image model
    find.py                 a mechanism by any of its names, and its model
    graph.py                which mechanism is which
"""

from tinyattn.catalog.find import MIXERS, ROWS, find, find_mixer, load_model
from tinyattn.catalog.row import BadInput, Paper, Row

__all__ = ["MIXERS", "ROWS", "BadInput", "Paper", "Row", "find", "find_mixer", "load_model"]
