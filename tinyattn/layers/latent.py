"""Latent attention with its projections: a token leaves one small vector and one rotated key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.layers.attention import Stepping, without_causal
from tinyattn.layers.linear import check_cache, check_heads, check_turned, normal, project
from tinyattn.ops.checks import integers, real
from tinyattn.ops.heads import merge_heads, split_heads
from tinyattn.ops.norm import rms_norm
from tinyattn.ops.positions.rotary import rotary, rotary_from
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class LatentAttention:
    """[c ; k_rope] = x W_down, c normalised, k_rope and the second part of every query rotated. arXiv:2405.04434.

    x (..., length, width) -> the same. Half of a head's channels carry positions. With a `LatentCache` the absorbed form
    answers, without one the expanded form.
    """

    q: Array
    down: Array
    latent_weight: Array
    w_uk: Array
    w_uv: Array
    out: Array
    base: float

    def __post_init__(self) -> None:
        real("base", self.base, above=1.0)
        floating("latent_weight", self.latent_weight)
        for name, weight in (("w_uk", self.w_uk), ("w_uv", self.w_uv)):
            if floating(name, weight).ndim != 3:
                raise ValueError(f"{name}: expected shape (heads, latent, channels), got {weight.shape}")

    @classmethod
    def create(cls, rng: np.random.Generator, width: int, heads: int, kv_heads: int, *, mechanism: Callable[..., Any] | None = None,
               base: float | None = 10000.0, deviation: float = 0.02, inputs: tuple[Any, ...] = ()) -> LatentAttention:
        """Returns the layer with normal weights; the latent is as wide as `kv_heads` heads of keys and values would be."""
        dim = check_heads(width, heads, kv_heads)
        latent, rope = 2 * dim * kv_heads, dim // 2
        check_turned(10000.0 if base is None else base, rope)
        nope = dim - rope

        def each(outputs: int) -> Array:
            return normal(rng, latent, heads * outputs).reshape(latent, heads, outputs).swapaxes(0, 1).copy()

        return cls(normal(rng, width, heads * dim), normal(rng, width, latent + rope), np.ones(latent, np.float32), each(nope),
                   each(dim), normal(rng, heads * dim, width, deviation=deviation), 10000.0 if base is None else base)

    def __call__(self, x: Array, *, positions: Array | None = None, cache: Stepping | None = None, causal: bool = True,
                 **options: Any) -> Array:
        check_cache(cache)
        heads, latent, nope = self.w_uk.shape
        q = split_heads(project(x, self.q), heads)
        down = project(x, self.down)
        c, k_rope = rms_norm(down[..., :latent], self.latent_weight), down[..., latent:]
        if positions is None:
            start = 0 if cache is None else cache.length
            q_rope, k_rope = (rotary_from(part, start, base=self.base) for part in (q[..., nope:], k_rope))
        else:
            positions = integers("positions", positions)
            q_rope, k_rope = rotary(q[..., nope:], positions[..., None, :], base=self.base), rotary(k_rope, positions, base=self.base)
        weights: dict[str, Any] = {"w_uk": self.w_uk, "w_uv": self.w_uv}
        if cache is not None:
            given = without_causal({"causal": causal, **weights, **options})
            read = cache.step(np.concatenate((q[..., :nope], q_rope), axis=-1), c, k_rope, **given)
        else:
            read = fastest.latent_attention_expanded(q[..., :nope], q_rope, c, k_rope, causal=causal, **weights, **options)
        return project(merge_heads(read), self.out)
