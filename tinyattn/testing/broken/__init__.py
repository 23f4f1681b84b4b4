"""The museum: wrong attentions, each a bug that people shipped, each killed by a law about its own fault."""

from tinyattn.testing.broken import arrays, cache, gradient, heads, linear, lse, masking, score, selected, sparse, spatial
from tinyattn.testing.broken.twin import Twin

HALLS = (masking, score, heads, lse, gradient, arrays, sparse, selected, linear, spatial, cache)
MUSEUM: tuple[Twin, ...] = tuple(item for hall in HALLS for item in vars(hall).values() if isinstance(item, Twin))

__all__ = ["MUSEUM", "Twin"]
