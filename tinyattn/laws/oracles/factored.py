"""Sums of outer products one by one, and the choice of an indexer row by row."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.laws.oracles.calls import constant
from tinyattn.laws.oracles.gathered import listed, over
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.types import Array


def one_by_one(heads: Array, channels: Array) -> Array:
    """Returns the sums of outer products of (..., rank, length, heads) and (..., rank, length, d), one head and rank at a time."""
    def of_head(h: int) -> Any:
        parts = [heads[..., r, :, h : h + 1] * channels[..., r, :, :] for r in range(heads.shape[-3])]
        return sum(parts[1:], parts[0])

    return np.stack([of_head(h) for h in range(heads.shape[-1])], axis=-3)


def products(q: Array, k: Array, v: Array, *, q_factors: Array, k_factors: Array, v_factors: Array, **options: Any) -> Any:
    """Returns attention over the sums of outer products."""
    pairs = ((q_factors, q), (k_factors, k), (v_factors, v))
    return definitions.attention(*(one_by_one(*pair) for pair in pairs), **options)


def turned_products(q: Array, k: Array, v: Array, *, q_factors: Array, k_factors: Array, v_factors: Array, **options: Any) -> Any:
    """Returns attention over the sums of outer products, whose queries and keys are rotated as sums."""
    asked, told, said = (one_by_one(*pair) for pair in ((q_factors, q), (k_factors, k), (v_factors, v)))
    places = np.arange(k.shape[-2])
    return definitions.attention(rotary(asked, np.arange(q.shape[-2])), rotary(told, places), said, **options)


def with_turned_factors(f: Any, p: Any) -> tuple[Array, ...]:
    """Returns tensor product attention with rotated channel factors."""
    return (p.but(q=rotary(p.q, np.arange(p.q.shape[-2])), k=rotary(p.k, np.arange(p.k.shape[-2]))).call(f),)


def row_by_row(q: Array, k: Array, v: Array, *, q_index: Array, k_index: Array, weights: Array, keep: int, causal: bool = True,
               scale: float | None = None) -> Array:
    """Returns attention of each query to the keys that it lists: visible ones, sorted by their score and then by their place."""
    asked, told, weighed = constant(q_index), constant(k_index), constant(weights)
    first = k.shape[-2] - q.shape[-2]

    def best(*index: int) -> list[int]:
        *lead, _, i = index
        scores = [sum(float(weighed[(*lead, n, i)]) * max(0.0, float(asked[(*lead, n, i)] @ told[(*lead, 0, j)]))
                      for n in range(asked.shape[-3])) for j in range(first + i + 1 if causal else k.shape[-2])]
        return sorted(range(len(scores)), key=lambda j: (-scores[j], j))[:keep]

    return over(q, k, v, listed((*q.shape[:-3], 1, q.shape[-2]), best), scale)


def best_of_own_scores(q: Array, k: Array, v: Array, *, keep: int, causal: bool, scale: float | None = None, **options: Any) -> Any:
    """Returns top-k attention."""
    return definitions.top_k_attention(q, k, v, keep=keep, causal=causal, scale=scale)
