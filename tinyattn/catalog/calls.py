"""How mechanisms with other arguments are called as f(q, k, v, **options), and with which settings a decoder calls them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tinyattn import definitions, fastest
from tinyattn.caches.growing import GrowingCache
from tinyattn.caches.state import StateCache
from tinyattn.catalog.cache_size import KEYS_AND_VALUES, CacheSize
from tinyattn.laws.draw.linear import directions
from tinyattn.laws.problem import Mechanism
from tinyattn.ops.activation import softplus
from tinyattn.ops.arguments import check_index
from tinyattn.ops.norm import rms_norm, unit
from tinyattn.ops.types import Array


def always_causal(chunked: Mechanism) -> Mechanism:
    """Returns a mechanism without a `causal` option as a decoder calls it: with `causal`, which must be True."""
    def mixer(q: Array, k: Array, v: Array, *, causal: bool, **gates: Any) -> Any:
        if not causal:
            raise ValueError("causal: this mechanism is causal by itself, got False")
        return chunked(q, k, v, **gates)

    return mixer


def growing(mechanism: Mechanism, **settings: Any) -> dict[str, Any]:
    """Returns the fields of a row whose decoder mixes tokens by a mechanism with these settings and keeps all keys and values."""
    mixer = partial(mechanism, **settings) if settings else mechanism
    return {"mixer": mixer, "cache": partial(GrowingCache, mixer), "cache_size": KEYS_AND_VALUES}


def summing(mixer: Mechanism, size: CacheSize) -> dict[str, Any]:
    """Returns the fields of a row whose decoder mixes tokens by `mixer` and keeps a state of this size."""
    return {"mixer": mixer, "cache": partial(StateCache, mixer), "cache_size": size}


def second_maps(f: Mechanism) -> Mechanism:
    """Returns differential attention as f(q, k, v, q2=, k2=, lambda_=)."""
    return lambda q, k, v, *, q2, k2, **options: f(q, k, q2, k2, v, **options)


DIFFERENCE = second_maps(fastest.differential_attention)


def halved_channels(q: Array, k: Array, v: Array, *, lambda_: float = 0.2, mechanism: Mechanism = DIFFERENCE,
           **options: Any) -> Array:
    """Returns differential attention as its layer calls it: half of a head's channels for each map, and a norm per head."""
    d = q.shape[-1] // 2
    return rms_norm(mechanism(q[..., :d], k[..., :d], v, q2=q[..., d:], k2=k[..., d:], lambda_=lambda_, **options)) * (1 - lambda_)


def as_latent(f: Mechanism) -> Mechanism:
    """Returns latent attention as f(q_nope, latent, k_rope, q_rope=, ...)."""
    return lambda q, k, v, *, q_rope, **options: f(q, q_rope, k, v, **options)


ABSORBED = as_latent(fastest.latent_attention_absorbed)


def counting(f: Mechanism) -> Mechanism:
    """Returns attention with the bias that f(q, k, embedding=...) gives."""
    def mechanism(q: Array, k: Array, v: Array, *, embedding: Array, causal: bool = True, mask: Any = None, window: Any = None,
                  scale: float | None = None, **options: Any) -> Any:
        same: dict[str, Any] = {"causal": causal, "mask": mask, "window": window, "scale": scale}
        return fastest.attention(q, k, v, bias=f(q, k, embedding=embedding, **same), **same, **options)

    return mechanism


COUNTED = counting(definitions.contextual_position_bias)


FEATURES = 64  # of the decoder's Performer


def cosformer_mixer(q: Array, k: Array, v: Array, *, start: int = 0, causal: bool = False, **options: Any) -> Any:
    """Returns cosFormer for texts of up to 1024 tokens, with 2 added to queries and keys, as a bias of their projections would.

    Queries and keys begin near 0: without the 2, half of all features would begin at 0 and learn slowly (3.3 bits after 300
    steps instead of 3.0).
    """
    return fastest.cosformer(q + q.dtype.type(2), k + k.dtype.type(2), v, max_length=1024, start=start, causal=causal, **options)


def performer_mixer(q: Array, k: Array, v: Array, *, causal: bool = False, **options: Any) -> Any:
    """Returns Performer with directions that are never drawn again, so that what is cached stays valid."""
    return fastest.performer(q, k, v, projection=directions(q.shape[-1], FEATURES, 0).astype(q.dtype), causal=causal, **options)


def retnet_decay(kv_heads: int) -> Array:
    """Returns RetNet's log decays, log(1 - 2^(-5 - h)) for head h."""
    return np.log1p(-(2.0 ** (-5.0 - np.arange(kv_heads))))


def retnet(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """Returns retention with RetNet's decays."""
    return fastest.retention(q, k, v, log_decay=retnet_decay(k.shape[-3]).astype(k.dtype), scale=k.shape[-1] ** -0.5, **options)


def with_unit_keys(mechanism: Mechanism) -> Mechanism:
    """Returns a delta rule on queries and keys of length 1, as its papers train it."""
    return lambda q, k, v, **options: mechanism(unit(q), unit(k), v, **options)


def of_factors(f: Mechanism) -> Mechanism:
    """Returns tensor product attention as f(q, k, v, q_factors=, k_factors=, v_factors=), of pairs (..., rank, length, n).

    q, k and v are the channel factors, and the options are the head factors.
    """
    def tokens_first(x: Any) -> Any:
        return np.swapaxes(x, -2, -3) if getattr(x, "ndim", 0) > 2 else x

    return lambda q, k, v, *, q_factors, k_factors, v_factors, **options: f(
        *((tokens_first(heads), tokens_first(x)) for heads, x in ((q_factors, q), (k_factors, k), (v_factors, v))), **options)


def indexed(f: Mechanism) -> Mechanism:
    """Returns DeepSeek sparse attention with the keys of its indexer as (..., 1, j, c)."""
    return lambda q, k, v, *, k_index, **options: f(
        q, k, v, k_index=k_index[..., 0, :, :] if getattr(k_index, "ndim", 0) > 2 else k_index, **options)


def choosing(f: Mechanism) -> Mechanism:
    """Returns attention to the keys that f(q_index, k_index, weights=, keep=) chooses."""
    def mechanism(q: Array, k: Array, v: Array, *, q_index: Array, k_index: Array, weights: Array, keep: int, causal: bool = True,
                  scale: float | None = None) -> Any:
        asked, told = check_index(q_index, k_index, q, k)
        return fastest.attention(q, k, v, mask=f(asked, told, weights=weights, keep=keep, causal=causal), scale=scale)

    return indexed(mechanism)


INDEXED = indexed(fastest.deepseek_sparse_attention)


def indexed_by_itself(q: Array, k: Array, v: Array, *, mechanism: Mechanism = INDEXED, **options: Any) -> Any:
    """Returns DeepSeek sparse attention whose indexer reads the queries themselves and the mean key of all heads.

    An indexer learns to imitate attention by a loss of its own, which this decoder does not have.
    """
    shared = np.mean(k, axis=-3, keepdims=True)
    return mechanism(q, k, v, q_index=q, k_index=shared, weights=np.ones(q.shape[:-1], q.dtype), **options)


def mesa_mixer(q: Array, k: Array, v: Array, *, ridge: Array, **options: Any) -> Any:
    """Returns mesa on queries and keys of length 1, with a ridge of at least 1/4 from learned numbers, as its paper trains it."""
    return fastest.mesa(unit(q), unit(k), v, ridge=softplus(ridge) + ridge.dtype.type(0.25), **options)


def sharded(q: Array, k: Array, v: Array, *, causal: bool = True, size: int = 16, local: int = 2, stride: int = 4,
            mechanism: Mechanism = fastest.block_sparse_attention, **options: Any) -> Any:
    """Returns attention to the last blocks and to every stride-th block before them, a different choice in each head."""
    positions, heads = np.arange(k.shape[-2] - q.shape[-2], k.shape[-2]), np.arange(q.shape[-3])[:, None, None]
    mine, theirs = positions[:, None] // size, np.arange(-(-k.shape[-2] // size))
    kept = (theirs + heads * max(1, stride // q.shape[-3]) + 1) % stride == 0
    return mechanism(q, k, v, blocks=(mine - theirs < local) | kept, q_block=1, kv_block=size, causal=True, **options)


def tied(f: Mechanism) -> Mechanism:
    """Returns Longformer, whose global projections equal the others unless they are given."""
    def call(q: Array, k: Array, v: Array, *, q_global: Array | None = None, k_global: Array | None = None,
             v_global: Array | None = None, **options: Any) -> Any:
        pairs = ((q, q_global), (k, k_global), (v, v_global))
        given = {f"{name}_global": x if other is None else other for name, (x, other) in zip("qkv", pairs, strict=True)}
        return f(q, k, v, **given, **options)

    return call


def hashed(f: Mechanism) -> Mechanism:
    """Returns LSH attention as f(q, k, v), in which q also serves as the keys."""
    return lambda q, k, v, **options: f(q, v, **options)


def of_an_image(f: Mechanism) -> Mechanism:
    """Returns a gate as f(q, k, v, kernel=, bias=), where q is the image."""
    return lambda q, k, v, *, kernel, bias: f(q, kernel=kernel, bias=bias)


def rotated_by_cells(f: Mechanism) -> Mechanism:
    """Returns attention on queries and keys that f rotates by the places of their cells."""
    return lambda q, k, v, *, grid, **options: fastest.attention(f(q, grid=grid), f(k, grid=grid), v, **options)
