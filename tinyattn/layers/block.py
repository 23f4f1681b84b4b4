"""A pre-norm block: attention and feed-forward, each added to its own input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn.layers.attention import SelfAttention, Stepping
from tinyattn.layers.checks import check_parts
from tinyattn.layers.feed_forward import SwiGLU
from tinyattn.layers.latent import LatentAttention
from tinyattn.layers.norm import RMSNorm
from tinyattn.layers.spatial_gate import SpatialGate
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class Block:
    """x + attention(norm(x)), then x + feed_forward(norm(x)). arXiv:2002.04745.

    >>> rng = np.random.default_rng(0)
    >>> block = Block.create(rng, LatentAttention.create(rng, 16, 4, 2), 16, 32)
    >>> block(np.ones((1, 3, 16), np.float32)).shape
    (1, 3, 16)
    """

    attention_norm: RMSNorm
    attention: SelfAttention | LatentAttention | SpatialGate
    feed_forward_norm: RMSNorm
    feed_forward: SwiGLU

    def __post_init__(self) -> None:
        check_parts(attention_norm=self.attention_norm, attention=self.attention, feed_forward_norm=self.feed_forward_norm,
                    feed_forward=self.feed_forward)

    @classmethod
    def create(cls, rng: np.random.Generator, attention: SelfAttention | LatentAttention | SpatialGate, width: int, hidden: int, *,
               deviation: float = 0.02) -> Block:
        """Returns the block around an attention layer; `deviation` is that of the last matrix of the feed-forward layer."""
        return cls(RMSNorm.create(width), attention, RMSNorm.create(width), SwiGLU.create(rng, width, hidden, deviation=deviation))

    def __call__(self, x: Array, *, cache: Stepping | None = None, **options: Any) -> Array:
        x = x + self.attention(self.attention_norm(x), cache=cache, **options)
        return x + self.feed_forward(self.feed_forward_norm(x))
