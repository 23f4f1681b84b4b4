"""A pre-norm block: attention and feed-forward, each added to what it read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tinyattn.layers.attention import SelfAttention, Stepping
from tinyattn.layers.feed_forward import SwiGLU
from tinyattn.layers.latent import LatentAttention
from tinyattn.layers.linear import check_parts
from tinyattn.layers.norm import RMSNorm
from tinyattn.layers.spatial_gate import SpatialGate
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class Block:
    """x + attention(norm(x)), then x + feed_forward(norm(x)). arXiv:2002.04745."""

    attention_norm: RMSNorm
    attention: SelfAttention | LatentAttention | SpatialGate
    feed_forward_norm: RMSNorm
    feed_forward: SwiGLU

    def __post_init__(self) -> None:
        check_parts(attention_norm=self.attention_norm, attention=self.attention, feed_forward_norm=self.feed_forward_norm,
                    feed_forward=self.feed_forward)

    def __call__(self, x: Array, *, cache: Stepping | None = None, **options: Any) -> Array:
        x = x + self.attention(self.attention_norm(x), cache=cache, **options)
        return x + self.feed_forward(self.feed_forward_norm(x))
