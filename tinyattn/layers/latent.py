"""Latent attention with its projections: one latent vector and one rotated key per token stand for the keys of all heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.layers.attention import Stepping, rotated, without_causal
from tinyattn.layers.checks import check_cache, check_heads, check_rotated
from tinyattn.layers.linear import normal, project
from tinyattn.ops.checks import real
from tinyattn.ops.heads import merge_heads, split_heads
from tinyattn.ops.norm import rms_norm
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class LatentAttention:
    """[c ; k_rope] = x W_down, c normalised, k_rope and the second part of every query rotated. arXiv:2405.04434.

    x (..., length, width) -> the same shape. Half of the channels of a head are rotated. The expanded form runs, or with a
    `LatentCache` the absorbed form.

    >>> layer = LatentAttention.create(np.random.default_rng(0), 16, 4, 2)
    >>> layer(np.ones((1, 3, 16), np.float32)).shape
    (1, 3, 16)
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
        check_rotated(10000.0 if base is None else base, rope)
        nope = dim - rope

        def per_head(outputs: int) -> Array:
            return normal(rng, latent, heads * outputs).reshape(latent, heads, outputs).swapaxes(0, 1).copy()

        return cls(normal(rng, width, heads * dim), normal(rng, width, latent + rope), np.ones(latent, np.float32), per_head(nope),
                   per_head(dim), normal(rng, heads * dim, width, deviation=deviation), 10000.0 if base is None else base)

    def __call__(self, x: Array, *, positions: Array | None = None, cache: Stepping | None = None, causal: bool = True,
                 **options: Any) -> Array:
        check_cache(cache)
        heads, latent, nope = self.w_uk.shape
        q = split_heads(project(x, self.q), heads)
        down = project(x, self.down)
        c, k_rope = rms_norm(down[..., :latent], self.latent_weight), down[..., latent:]
        start = 0 if cache is None else cache.length
        q_rope = rotated(q[..., nope:], self.base, positions, start)
        k_rope = rotated(k_rope[..., None, :, :], self.base, positions, start)[..., 0, :, :]
        weights: dict[str, Any] = {"w_uk": self.w_uk, "w_uv": self.w_uv}
        if cache is not None:
            given = without_causal({"causal": causal, **weights, **options})
            read = cache.step(np.concatenate((q[..., :nope], q_rope), axis=-1), c, k_rope, **given)
        else:
            read = fastest.latent_attention_expanded(q[..., :nope], q_rope, c, k_rope, causal=causal, **weights, **options)
        return project(merge_heads(read), self.out)
