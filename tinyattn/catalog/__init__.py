"""One row per mechanism: what it is, which paper it is from, what it costs, and which laws it obeys.

Its files, in reading order:

    cache_size.py           the bytes of caches
    row.py                  what a row must have
    refused.py              bad inputs of many mechanisms
    calls.py                mechanisms as f(q, k, v, **options), and as a decoder calls them
    softmax.py              exact attention
    weighting.py            weights that are not a plain softmax
    positions.py            spans, counted positions, positions below a bound
    relative_calls.py       tables and mixtures as a decoder calls them
    relative.py             cosines, mixed heads, tables of distances, directions
    linear.py               linear attention, other features, recurrences
    solved.py               a regression that is solved, states by levels
    state_calls.py          further states as a decoder calls them
    states.py               slopes, a read before the write, exponential gates
    delta_calls.py          delta rules beyond the gated one as a decoder calls them
    delta.py                delta rules beyond the gated one
    lowrank.py              projections, landmarks
    grid.py                 windows, lines and neighbourhoods of a grid
    sparse.py               fixed patterns
    selected.py             keys that queries choose
    factored.py             sums of outer products, keys that an indexer chooses
    caches.py               caches
    blocks.py               mechanisms of a grid as blocks of an image model
    find.py                 a mechanism by any of its names, and its model
    graph.py                which mechanism equals which
"""

from tinyattn.catalog.find import MIXERS, ROWS, find, find_mixer, load_model
from tinyattn.catalog.row import BadInput, Paper, Row

__all__ = ["MIXERS", "ROWS", "BadInput", "Paper", "Row", "find", "find_mixer", "load_model"]
