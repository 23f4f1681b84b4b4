"""The museum: wrong attentions, each a bug that people shipped, each killed by a law about its own fault."""

from tinyattn.testing.broken import arrays, cache, gradient, heads, linear, lse, masking, score, selected, sparse
from tinyattn.testing.broken.twin import Twin

HALLS = (masking, score, heads, lse, gradient, arrays, linear, cache, sparse, selected)
MUSEUM: tuple[Twin, ...] = tuple(item for hall in HALLS for item in vars(hall).values() if isinstance(item, Twin))

__all__ = ["MUSEUM", "Twin"]
