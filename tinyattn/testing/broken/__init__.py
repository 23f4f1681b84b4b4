"""The museum: wrong mechanisms, each with a bug that people shipped, and each detected by a law about that bug.

Its files, in reading order:

    twin.py                 a fault, and the laws that must detect it
    masking.py              which query sees which key
    score.py                scores and weights
    rule.py                 score rules
    stream.py               blocks of keys and exponentials
    heads.py                heads, sequences, sinks
    lse.py                  log-sum-exps
    gradient.py             backward passes
    arrays.py               dtypes and memory layouts
    linear.py               linear attention and its states
    variants.py             attention with one thing changed
    forgetting.py           gates that forget
    weighting.py            weights that are not a plain softmax
    latent.py               latent attention
    recurrent.py            states that decay or are corrected
    solved.py               regressions, levels
    states.py               slopes, a read before the write, exponential gates
    delta.py                delta rules beyond the gated one
    contextual.py           spans and counted positions
    relative.py             cosines, mixed heads, tables of distances
    dual_chunk.py           chunks
    lowrank.py              projections, landmarks
    features.py             feature maps
    windows.py              windows of a grid
    spatial.py              lines, neighbourhoods, gates and positions of a grid
    sparse.py               patterns, tables of blocks
    local.py                windows with something more
    selected.py             choices
    factored.py             sums of outer products, choices of an indexer
    cache.py                what a cache keeps
    cache_ring.py           which token a ring sees
    cache_stored.py         pages and codes
    cache_rows.py           rows and forgotten tokens
    cache_tokens.py         gates, keys of an indexer, factors
"""

from tinyattn.testing.broken import (
    arrays,
    cache,
    cache_ring,
    cache_rows,
    cache_stored,
    cache_tokens,
    contextual,
    delta,
    dual_chunk,
    factored,
    features,
    forgetting,
    gradient,
    heads,
    latent,
    linear,
    local,
    lowrank,
    lse,
    masking,
    recurrent,
    relative,
    rule,
    score,
    selected,
    solved,
    sparse,
    spatial,
    states,
    stream,
    variants,
    weighting,
    windows,
)
from tinyattn.testing.broken.twin import Twin

HALLS = (
    masking,
    score,
    rule,
    stream,
    heads,
    lse,
    gradient,
    arrays,
    variants,
    forgetting,
    weighting,
    latent,
    contextual,
    relative,
    dual_chunk,
    sparse,
    local,
    selected,
    factored,
    linear,
    features,
    recurrent,
    states,
    delta,
    solved,
    lowrank,
    windows,
    spatial,
    cache,
    cache_ring,
    cache_stored,
    cache_rows,
    cache_tokens,
)
MUSEUM: tuple[Twin, ...] = tuple(one for hall in HALLS for item in vars(hall).values()
                                 for one in (item if isinstance(item, tuple) else (item,)) if isinstance(one, Twin))

__all__ = ["MUSEUM", "Twin"]
