"""The museum: wrong attentions, each a bug that people shipped, each killed by a law about its own fault."""

from tinyattn.testing.broken import (
    arrays,
    cache,
    cache_ring,
    cache_rows,
    cache_stored,
    gradient,
    heads,
    linear,
    lse,
    masking,
    score,
)
from tinyattn.testing.broken.twin import Twin

HALLS = (masking, score, heads, lse, gradient, arrays, linear, cache, cache_ring, cache_stored, cache_rows)
MUSEUM: tuple[Twin, ...] = tuple(item for hall in HALLS for item in vars(hall).values() if isinstance(item, Twin))

__all__ = ["MUSEUM", "Twin"]
