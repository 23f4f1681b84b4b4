"""Tensor product attention with its projections: per token and rank one factor over the heads and one over the channels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn.caches.factored import packed
from tinyattn.layers.attention import Stepping, rotated, without_causal
from tinyattn.layers.checks import check_cache, check_heads, check_mechanism, check_rotated
from tinyattn.layers.linear import normal, project
from tinyattn.ops.checks import real, whole
from tinyattn.ops.heads import merge_heads
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array

# The ranks of the paper: 6 for queries, 2 for keys and values.
Q_RANK, RANK = 6, 2


@dataclass(frozen=True, eq=False)
class TensorProductAttention:
    """Queries, keys and values are means over a rank of outer products of two projections of a token. arXiv:2501.06425.

    x (..., length, width) -> the same shape. `q`, `k` and `v` (width, rank, heads + channels) give both factors of every rank;
    the channels of queries and keys are rotated. `mechanism(q, k, v, heads=, kv_heads=)` takes both factors in one array
    (..., rank, length, heads + channels), and so does a cache, which holds these factors only.

    >>> layer = TensorProductAttention.create(np.random.default_rng(0), 16, 4, 2)
    >>> layer(np.ones((1, 3, 16), np.float32)).shape
    (1, 3, 16)
    """

    q: Array
    k: Array
    v: Array
    out: Array
    heads: int
    kv_heads: int
    base: float | None
    mechanism: Callable[..., Any]

    def __post_init__(self) -> None:
        check_mechanism(self.mechanism)
        if self.base is not None:
            real("base", self.base, above=1.0)
        heads, kv_heads = whole("heads", self.heads, 1), whole("kv_heads", self.kv_heads, 1)
        for name, weight, count in (("q", self.q, heads), ("k", self.k, kv_heads), ("v", self.v, kv_heads)):
            shape = floating(name, weight).shape
            if len(shape) != 3 or not shape[1] or shape[2] <= count:
                raise ValueError(f"{name}: expected shape (width, rank, {count} heads + channels), got {shape}")

    @classmethod
    def create(cls, rng: np.random.Generator, width: int, heads: int, kv_heads: int, *, mechanism: Callable[..., Any] = packed,
               base: float | None = 10000.0, deviation: float = 0.02, inputs: tuple[Any, ...] = ()) -> TensorProductAttention:
        """Returns the layer with normal weights, whose ranks are those of the paper: 6 for queries, 2 for keys and values."""
        dim = check_heads(width, heads, kv_heads)
        check_mechanism(mechanism)
        check_rotated(base, dim)

        def both(rank: int, count: int) -> Array:
            # With a deviation of width^-1/2 the factors of normalised tokens are about 1: a product of smaller ones would vanish.
            return normal(rng, width, rank * (count + dim), deviation=width ** -0.5).reshape(width, rank, count + dim)

        out = normal(rng, heads * dim, width, deviation=deviation)
        return cls(both(Q_RANK, heads), both(RANK, kv_heads), both(RANK, kv_heads), out, heads, kv_heads, base, mechanism)

    def __call__(self, x: Array, *, positions: Array | None = None, cache: Stepping | None = None, **options: Any) -> Array:
        check_cache(cache)
        start = 0 if cache is None else cache.length
        counts = {"heads": self.heads, "kv_heads": self.kv_heads}
        q = self._factors(x, self.q, self.heads, positions, start)
        k = self._factors(x, self.k, self.kv_heads, positions, start)
        v = self._factors(x, self.v, self.kv_heads, None, None)
        given = {**options, **counts}
        read = self.mechanism(q, k, v, **given) if cache is None else cache.step(q, k, v, **without_causal(given))
        return project(merge_heads(read), self.out)

    def _factors(self, x: Array, weight: Array, count: int, positions: Array | None, start: int | None) -> Array:
        """Returns both factors of every rank in one array (..., rank, length, heads + channels); without a start none is rotated."""
        width, rank, columns = weight.shape
        made = project(x, weight.reshape(width, rank * columns))
        made = np.swapaxes(made.reshape(*made.shape[:-1], rank, columns), -2, -3)
        heads, channels = made[..., :count] * made.dtype.type(1 / rank), made[..., count:]
        return np.concatenate((heads, channels if start is None else rotated(channels, self.base, positions, start)), axis=-1)
