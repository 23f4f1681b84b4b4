"""The museum: wrong attentions, each a bug that people shipped, each killed by a law about its own fault."""

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
