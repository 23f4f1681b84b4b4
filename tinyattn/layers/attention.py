"""Attention with projections, over the tokens themselves or over a memory; the mechanism is a function given to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tinyattn.layers.inputs import Input, Learned, Parameter, Projection
from tinyattn.layers.linear import check_heads, check_mechanism, check_turned, normal, project
from tinyattn.ops.checks import integers
from tinyattn.ops.heads import merge_heads, split_heads
from tinyattn.ops.positions.rotary import rotary, rotary_from
from tinyattn.ops.types import Array


class Stepping(Protocol):
    """What a layer asks of a cache: how many tokens it holds, and to step."""

    @property
    def length(self) -> int:
        """Tokens stored."""

    def step(self, q: Array, k: Array, v: Array, **options: Any) -> Array:
        """Appends a chunk and returns what its queries read."""


@dataclass(frozen=True, eq=False)
class SelfAttention:
    """Queries, keys and values from the same tokens, rotated by their positions; heads share kv_heads.

    x (..., length, width) -> the same. `mechanism(q, k, v, **options)` is any of the library's; with a cache the
    cache's mechanism is what runs. `inputs` are what it takes besides: gates, decays, strengths, spans. `positions`
    (..., length) are where the tokens stand, behind those that the cache holds if not given.
    """

    q: Array
    k: Array
    v: Array
    out: Array
    heads: int
    kv_heads: int
    base: float | None
    mechanism: Callable[..., Any]
    inputs: tuple[Projection | Learned, ...] = ()

    @classmethod
    def create(cls, rng: np.random.Generator, width: int, heads: int, kv_heads: int, *, mechanism: Callable[..., Any],
               base: float | None = 10000.0, deviation: float = 0.02,
               inputs: tuple[Input | Parameter, ...] = ()) -> SelfAttention:
        """Returns the layer with normal weights; `base` None gives no positions.

        Raises:
            TypeError, ValueError: sizes that are no ints or do not divide, a base that is no number above 1.
        """
        dim = check_heads(width, heads, kv_heads)
        check_mechanism(mechanism)
        check_turned(base, dim)
        q, k, v = normal(rng, width, width), normal(rng, width, dim * kv_heads), normal(rng, width, dim * kv_heads)
        out = normal(rng, width, width, deviation=deviation)
        made = tuple(given.create(rng, width, heads, kv_heads, dim) for given in inputs)
        return cls(q, k, v, out, heads, kv_heads, base, mechanism, made)

    def __call__(self, x: Array, *, positions: Array | None = None, cache: Stepping | None = None,
                 **options: Any) -> Array:
        q = split_heads(project(x, self.q), self.heads)
        k = split_heads(project(x, self.k), self.kv_heads)
        v = split_heads(project(x, self.v), self.kv_heads)
        if self.base is not None:
            if positions is None:
                start = 0 if cache is None else cache.length
                q, k = rotary_from(q, start, base=self.base), rotary_from(k, start, base=self.base)
            else:
                positions = integers("positions", positions)
                q, k = (rotary(part, positions[..., None, :], base=self.base) for part in (q, k))
        given = {made.input.name: made(x) for made in self.inputs}
        read = cache.step(q, k, v, **given) if cache is not None else self.mechanism(q, k, v, **given, **options)
        return project(merge_heads(read), self.out)


@dataclass(frozen=True, eq=False)
class CrossAttention:
    """Queries from the tokens, keys and values from a memory; every token sees all of it.

    x (..., length, width), memory (..., kv_len, memory_width) -> (..., length, width).
    """

    q: Array
    k: Array
    v: Array
    out: Array
    heads: int
    kv_heads: int
    mechanism: Callable[..., Any]

    @classmethod
    def create(cls, rng: np.random.Generator, width: int, heads: int, kv_heads: int, *, mechanism: Callable[..., Any],
               memory_width: int | None = None) -> CrossAttention:
        """Returns the layer with normal weights; the memory is as wide as the tokens unless told."""
        check_mechanism(mechanism)
        kv_width, inputs = check_heads(width, heads, kv_heads) * kv_heads, width if memory_width is None else memory_width
        return cls(normal(rng, width, width), normal(rng, inputs, kv_width), normal(rng, inputs, kv_width),
                   normal(rng, width, width), heads, kv_heads, mechanism)

    def __call__(self, x: Array, memory: Array, **options: Any) -> Array:
        q = split_heads(project(x, self.q), self.heads)
        k = split_heads(project(memory, self.k), self.kv_heads)
        v = split_heads(project(memory, self.v), self.kv_heads)
        return project(merge_heads(self.mechanism(q, k, v, **options)), self.out)
