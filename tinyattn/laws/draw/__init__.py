"""How problems are drawn, family by family: sizes from 0 and 1 upward, options combined, numbers that can tell right from wrong.

Its files, in reading order:

    sizes.py                sizes, and those that a mechanism takes
    softmax.py              the options of softmax attention
    options.py              drawings made of other drawings
    variants.py             attention with one thing changed
    weighting.py            weights that are not a plain softmax
    linear.py               linear attention and recurrences
    solved.py               ridges and level scales
    states.py               slopes, a bonus, exponential gates
    delta.py                read and write vectors, several steps per token
    lowrank.py              projections, landmarks
    sparse.py               patterns, tables, windows, choices
    factored.py             sums of outer products, keys that an indexer chooses
    grid.py                 images
    relative.py             cosines, mixed heads, tables of distances
    caches.py               causal problems for caches
"""

from tinyattn.laws.draw.sizes import at_least, both, draw_sizes, square
from tinyattn.laws.draw.softmax import ALL, option, softmax, without

__all__ = ["ALL", "at_least", "both", "draw_sizes", "option", "softmax", "square", "without"]
