"""One row per mechanism: what it is, which paper it is from, what it costs, and which laws it obeys.

Its files, in reading order:

    cache_size.py           the bytes of caches
    row.py                  what a row must have
    refused.py              bad inputs of many mechanisms
    calls.py                mechanisms as f(q, k, v, **options)
    softmax.py              exact attention
    variants.py             attention with one thing changed
    contextual.py           spans and counted positions
    latent.py               latent attention
    linear.py               linear attention
    features.py             linear attention by its features
    recurrent.py            states that decay or are corrected
    dual_chunk.py           positions below a bound
    lowrank.py              projections, landmarks
    windows.py              windows of a grid
    spatial.py              lines and neighbourhoods of a grid
    image.py                a gate, and positions in two dimensions
    sparse.py               patterns, tables of blocks
    local.py                windows with something more
    selected.py             keys that queries choose
    caches.py               caches
    blocks.py               mechanisms of a grid as blocks of an image model
    find.py                 by any name
    graph.py                which mechanism equals which
"""

from tinyattn.catalog.find import MIXERS, ROWS, find, find_mixer, load_model
from tinyattn.catalog.row import BadInput, Paper, Row

__all__ = ["MIXERS", "ROWS", "BadInput", "Paper", "Row", "find", "find_mixer", "load_model"]
