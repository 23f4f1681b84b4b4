"""LatentCache: for latent attention, the latent vector and the rotated key of each token, shared by all heads."""

from __future__ import annotations

import numpy as np

from tinyattn import fastest
from tinyattn.caches.checks import check_beside
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.tape import Tapes
from tinyattn.ops.checks import has_axes
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.types import Array


def absorbed(q: Array, latent: Array, k_rope: Array, *, causal: bool, w_uk: Array, w_uv: Array, mask: Array | Pattern | None = None,
             window: Window | None = None, scale: float | None = None) -> Array:
    """Returns latent attention of queries [q_nope ; q_rope]; latent and k_rope have a heads axis of 1."""
    for name, weight in (("w_uk", w_uk), ("w_uv", w_uv)):
        if has_axes(name, weight, 3) != weight.shape[-3:]:
            raise ValueError(f"{name}: expected three axes (heads, r, dim), got shape {weight.shape}")
    if w_uk.shape[-1] + k_rope.shape[-1] != q.shape[-1]:
        raise ValueError(f"w_uk, v: expected the {q.shape[-1]} channels of q in all, those of w_uk {w_uk.shape} and of v, the rotated "
                         f"keys {k_rope.shape}")
    parts = q[..., : w_uk.shape[-1]], q[..., w_uk.shape[-1] :]
    out: Array = fastest.latent_attention_absorbed(*parts, latent[..., 0, :, :], k_rope[..., 0, :, :], w_uk=w_uk, w_uv=w_uv,
                                                   causal=causal, mask=mask, window=window, scale=scale)
    return out


absorbed.per_token = {}  # type: ignore[attr-defined]  # as `@shapes` declares it: no option has one entry per token


class LatentCache(GrowingCache):
    """Keeps latent (..., n, r) and k_rope (..., n, p) of every token; exact.

    nbytes = length (r + p) itemsize, times the leading axes, however many heads there are. Queries are
    [q_nope ; q_rope]; `w_uk` and `w_uv` are given with them.

    >>> cache = LatentCache()
    >>> weights = {"w_uk": np.ones((2, 4, 3)), "w_uv": np.ones((2, 4, 5))}
    >>> cache.step(np.ones((2, 1, 3 + 2)), np.ones((1, 4)), np.ones((1, 2)), **weights).shape, cache.nbytes
    ((2, 1, 5), 48)
    """

    def __init__(self) -> None:
        super().__init__(absorbed)

    def _appended(self, k: Array, v: Array) -> Tapes:
        return super()._appended(one_head(k), one_head(v))

    def _fitting(self, q: Array, k: Array) -> Array:
        return check_beside(q, k, "latents")


def one_head(x: Array) -> Array:
    """Returns (..., n, width) with a heads axis of 1."""
    return x[..., None, :, :] if isinstance(x, np.ndarray) and x.ndim > 1 else x
