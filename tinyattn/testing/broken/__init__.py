"""The museum: wrong mechanisms, each with a bug that people shipped, and each detected by a law about that bug."""

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
    local,
    lowrank,
    lse,
    masking,
    recurrent,
    score,
    selected,
    sparse,
    spatial,
    variants,
    windows,
)
from tinyattn.testing.broken.twin import Twin

HALLS = (masking, score, heads, lse, gradient, arrays, variants, latent, contextual, dual_chunk, sparse, local, selected, linear,
         features, recurrent, lowrank, windows, spatial, cache, cache_ring, cache_stored, cache_rows)
MUSEUM: tuple[Twin, ...] = tuple(one for hall in HALLS for item in vars(hall).values()
                                 for one in (item if isinstance(item, tuple) else (item,)) if isinstance(one, Twin))

__all__ = ["MUSEUM", "Twin"]
