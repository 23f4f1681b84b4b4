"""The museum: wrong attentions, each a bug that people shipped, each killed by a law about its own fault.

Its files, in reading order:

    twin.py                 a fault, and the laws that must kill it
    masking.py              who sees whom
    score.py                scores and weights
    heads.py                heads, sequences, sinks
    lse.py                  log-sum-exps
    gradient.py             backward passes
    arrays.py               dtypes and layouts
    linear.py               states
    variants.py             one thing changed, wrongly
    latent.py               what is absorbed
    recurrent.py            states that fade or are corrected
    contextual.py           spans, counts
    dual_chunk.py           chunks
    lowrank.py              projections, landmarks
    features.py             features
    spatial.py              grids
    sparse.py               patterns, windows, groups
    selected.py             choices
    cache.py                caches: what is kept
    cache_ring.py           rings: who is seen
    cache_stored.py         pages and codes
    cache_rows.py           whose tokens, and which are forgotten
"""

from tinyattn.testing.broken import (
    arrays,
    cache,
    cache_ring,
    cache_rows,
    cache_stored,
    contextual,
    dual_chunk,
    features,
    gradient,
    heads,
    latent,
    linear,
    lowrank,
    lse,
    masking,
    recurrent,
    score,
    selected,
    sparse,
    spatial,
    variants,
)
from tinyattn.testing.broken.twin import Twin

HALLS = (masking, score, heads, lse, gradient, arrays, variants, latent, contextual, dual_chunk, sparse, selected, linear, features,
         recurrent, lowrank, spatial, cache, cache_ring, cache_stored, cache_rows)
MUSEUM: tuple[Twin, ...] = tuple(one for hall in HALLS for item in vars(hall).values()
                                 for one in (item if isinstance(item, tuple) else (item,)) if isinstance(one, Twin))

__all__ = ["MUSEUM", "Twin"]
