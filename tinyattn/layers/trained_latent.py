"""Latent attention as trained models have it: a norm inside the queries, any frequencies, any scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn import fastest
from tinyattn.layers.affine import Affine
from tinyattn.layers.attention import Stepping, without_causal
from tinyattn.layers.checks import check_cache
from tinyattn.layers.trained_attention import tables
from tinyattn.ops.heads import merge_heads, split_heads
from tinyattn.ops.positions.frequencies import Frequencies
from tinyattn.ops.positions.rotary import rotary_by
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class TrainedLatent:
    """[c ; k_rope] = down(x), c normed, k_rope and the last part of every query rotated. arXiv:2412.19437.

    x (..., length, width) -> the same shape. Queries are q_up(q_norm(q(x))), or q(x) where `q_up` is None. The expanded form runs,
    or with a `LatentCache` the absorbed form.

    >>> from tinyattn.layers.mixed import same
    >>> layer = TrainedLatent(Affine(np.ones((2 * 6, 8))), None, same, Affine(np.ones((7, 8))), same, np.ones((2, 5, 4)),
    ...                       np.ones((2, 5, 3)), Affine(np.ones((8, 6))), Frequencies(np.ones(1)), False, 0.5)
    >>> layer(np.ones((1, 3, 8))).shape
    (1, 3, 8)
    """

    q: Affine
    q_up: Affine | None
    q_norm: Callable[[Array], Array]
    down: Affine
    norm: Callable[[Array], Array]
    w_uk: Array
    w_uv: Array
    out: Affine
    frequencies: Frequencies
    interleaved: bool
    scale: float

    def __call__(self, x: Array, *, cache: Stepping | None = None, causal: bool = True, **options: Any) -> Array:
        check_cache(cache)
        heads, latent, nope = self.w_uk.shape
        q = split_heads(self.q(x) if self.q_up is None else self.q_up(self.q_norm(self.q(x))), heads)
        down = self.down(x)
        c, k_rope = self.norm(down[..., :latent]), down[..., latent:]
        cos, sin = tables(self.frequencies, 0 if cache is None else cache.length, x.shape[-2], x.dtype)
        q_rope = rotary_by(q[..., nope:], cos, sin, interleaved=self.interleaved)
        k_rope = rotary_by(k_rope, cos, sin, interleaved=self.interleaved)
        given: dict[str, Any] = {"w_uk": self.w_uk, "w_uv": self.w_uv, "scale": self.scale, **options}
        if cache is None:
            read = fastest.latent_attention_expanded(q[..., :nope], q_rope, c, k_rope, causal=causal, **given)
        else:
            both = np.concatenate((q[..., :nope], q_rope), axis=-1)
            read = cache.step(both, c, k_rope, **without_causal({"causal": causal, **given}))
        return self.out(merge_heads(read))
