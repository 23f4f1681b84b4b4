"""Attention with projections, over the tokens themselves or over a memory; the mechanism is a function that the layer is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from tinyattn.caches.base import Base
from tinyattn.caches.cross import CrossCache
from tinyattn.layers.checks import check_cache, check_heads, check_mechanism, check_rotated
from tinyattn.layers.fused import rotary_from
from tinyattn.layers.inputs import Input, Learned, Parameter, Projection
from tinyattn.layers.linear import normal, project, projections
from tinyattn.ops.checks import integers, real, whole
from tinyattn.ops.heads import merge_heads, split_heads
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.types import Array


class Stepping(Protocol):
    """What a layer needs of a cache: its length and its step."""

    @property
    def length(self) -> int:
        """How many tokens it holds."""

    @property
    def step(self) -> Callable[..., Array]:
        """Appends the keys and values of a chunk, if the layer has any, and returns what the queries of the chunk read."""


@dataclass(frozen=True, eq=False)
class SelfAttention:
    """Self-attention: queries, keys and values are projections of the same tokens, queries and keys rotated by position.

    x (..., length, width) -> the same shape. `mechanism(q, k, v, **options)` may be any of the library's. With a cache the
    mechanism of the cache runs instead; it takes the same options without `causal`, as a cache is always causal. `inputs`
    compute further arguments of the mechanism from the tokens, such as gates and decays. `positions` (..., length) are the
    positions of the tokens; without them the tokens follow those that the cache holds.

    A layer without `k` and `v` reads the keys and values of another layer. They are given as `keys`, which the other layer's
    `keys_of` returns, or are in a `SharedCache` of the other layer's cache, which has taken its step before.

    >>> from tinyattn import definitions
    >>> layer = SelfAttention.create(np.random.default_rng(0), 8, 4, 2, mechanism=definitions.attention)
    >>> layer(np.ones((1, 3, 8), np.float32), causal=True).shape
    (1, 3, 8)
    """

    q: Array
    k: Array | None
    v: Array | None
    out: Array
    heads: int
    kv_heads: int
    base: float | None
    mechanism: Callable[..., Any]
    inputs: tuple[Projection | Learned, ...] = ()

    def __post_init__(self) -> None:
        check_mechanism(self.mechanism)
        if self.base is not None:
            real("base", self.base, above=1.0)
        if (self.k is None) != (self.v is None):
            raise ValueError("k and v: expected both, or None for both in a layer that reads another's")
        if not isinstance(self.inputs, tuple) or not all(callable(made) for made in self.inputs):
            raise TypeError(f"inputs: expected a tuple of projections and learned arrays, got {self.inputs!r:.60}")

    @classmethod
    def create(cls, rng: np.random.Generator, width: int, heads: int, kv_heads: int, *, mechanism: Callable[..., Any],
               base: float | None = 10000.0, deviation: float = 0.02,
               inputs: tuple[Input | Parameter, ...] = ()) -> SelfAttention:
        """Returns the layer with normal weights; with a `base` of None nothing is rotated.

        Raises:
            TypeError, ValueError: sizes that are not ints or do not divide, a base that is not a number above 1.
        """
        dim = check_heads(width, heads, kv_heads)
        check_mechanism(mechanism)
        check_rotated(base, dim)
        q, k, v = normal(rng, width, width), normal(rng, width, dim * kv_heads), normal(rng, width, dim * kv_heads)
        out = normal(rng, width, width, deviation=deviation)
        if not isinstance(inputs, (tuple, list)) or not all(isinstance(given, (Input, Parameter)) for given in inputs):
            raise TypeError(f"inputs: expected a tuple of Input and Parameter, got {inputs!r:.60}")
        made = tuple(given.create(rng, width, heads, kv_heads, dim) for given in inputs)
        return cls(q, k, v, out, heads, kv_heads, base, mechanism, made)

    @classmethod
    def create_reader(cls, rng: np.random.Generator, width: int, heads: int, kv_heads: int, *, mechanism: Callable[..., Any],
                      base: float | None = 10000.0, deviation: float = 0.02,
                      inputs: tuple[Input | Parameter, ...] = ()) -> SelfAttention:
        """Returns a layer that reads the keys and values of another layer; the arguments are those of `create`. arXiv:2405.12981."""
        made = cls.create(rng, width, heads, kv_heads, mechanism=mechanism, base=base, deviation=deviation, inputs=inputs)
        return replace(made, k=None, v=None)

    def keys_of(self, x: Array, *, positions: Array | None = None, start: int = 0) -> tuple[Array, Array]:
        """Returns the keys and values (..., kv_heads, length, dim) of the tokens, at these positions or from `start` on.

        Raises:
            ValueError: a layer that reads the keys of another layer.
        """
        start = whole("start", start, 0)
        if self.k is None or self.v is None:
            raise ValueError("keys_of: this layer has no keys of its own; call keys_of of the layer whose keys it reads")
        return self._turned(*projections(x, self.k, self.v), positions=positions, start=start)

    def _turned(self, k: Array, v: Array, *, positions: Array | None, start: int) -> tuple[Array, Array]:
        """Returns keys and values from their projections: split into heads, the keys turned by their positions."""
        return rotated(split_heads(k, self.kv_heads), self.base, positions, start), split_heads(v, self.kv_heads)

    def __call__(self, x: Array, *, positions: Array | None = None, cache: Stepping | None = None,
                 keys: tuple[Array, Array] | None = None, **options: Any) -> Array:
        check_cache(cache)
        own = self.k is not None
        if own and keys is not None:
            raise ValueError("keys: this layer has keys of its own; SelfAttention.create_reader makes one that reads another's")
        if not own and (keys is None) == (cache is None):
            raise ValueError("keys: this layer has none of its own; give it keys_of another layer, or a SharedCache instead")
        start = 0 if cache is None else cache.length if own else cache.length - x.shape[-2]
        q, *kv = projections(x, self.q) if self.k is None or self.v is None else projections(x, self.q, self.k, self.v)
        q = rotated(split_heads(q, self.heads), self.base, positions, start)
        read = self._turned(*kv, positions=positions, start=start) if kv else keys or ()
        given = {**options, **{made.input.name: made(x) for made in self.inputs}} if self.inputs else options
        out = self.mechanism(q, *read, **given) if cache is None else cache.step(q, *read, **without_causal(given))
        return project(merge_heads(out), self.out)


def rotated(heads: Array, base: float | None, positions: Array | None, start: int) -> Array:
    """Returns queries or keys (..., heads, length, dim) rotated to these positions, or from `start` on; base None rotates nothing."""
    if base is None:
        return heads
    if positions is None:
        return rotary_from(heads, start, base=base)
    return rotary(heads, integers("positions", positions)[..., None, :], base=base)


def without_causal(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the options of a mechanism that its cache takes; ValueError for causal=False, as a cache is always causal."""
    if len(options) == 1 and options.get("causal") is True:
        return {}
    if not options.get("causal", True):
        raise ValueError(f"causal: a layer with a cache is always causal, got {options['causal']}")
    return {name: option for name, option in options.items() if name != "causal"}


@dataclass(frozen=True, eq=False)
class CrossAttention:
    """Cross-attention: queries are projections of the tokens, keys and values of a memory, all of which every token sees.

    x (..., length, width), memory (..., kv_len, memory_width) -> (..., length, width). With a `CrossCache` the memory is given
    with the first tokens only: its keys and values are computed once, and the mechanism of the cache runs.

    >>> from tinyattn import definitions
    >>> layer = CrossAttention.create(np.random.default_rng(0), 8, 4, 2, mechanism=definitions.attention, memory_width=5)
    >>> layer(np.ones((1, 3, 8), np.float32), np.ones((1, 6, 5), np.float32)).shape
    (1, 3, 8)
    """

    q: Array
    k: Array
    v: Array
    out: Array
    heads: int
    kv_heads: int
    mechanism: Callable[..., Any]

    def __post_init__(self) -> None:
        check_mechanism(self.mechanism)

    @classmethod
    def create(cls, rng: np.random.Generator, width: int, heads: int, kv_heads: int, *, mechanism: Callable[..., Any],
               memory_width: int | None = None) -> CrossAttention:
        """Returns the layer with normal weights; without a `memory_width` the memory is as wide as the tokens."""
        check_mechanism(mechanism)
        kv_width, inputs = check_heads(width, heads, kv_heads) * kv_heads, width if memory_width is None else memory_width
        return cls(normal(rng, width, width), normal(rng, inputs, kv_width), normal(rng, inputs, kv_width),
                   normal(rng, width, width), heads, kv_heads, mechanism)

    def __call__(self, x: Array, memory: Array | None = None, *, cache: Stepping | None = None, **options: Any) -> Array:
        check_cache(cache)
        if memory is None and cache is None:
            raise ValueError("memory: expected an array (..., kv_len, memory_width), or a cache that holds one")
        if isinstance(source := getattr(cache, "source", cache), Base) and not isinstance(source, CrossCache):
            raise TypeError(f"cache: expected a CrossCache, which shows every token the whole memory; "
                            f"a {type(source).__name__} is causal")
        q = split_heads(project(x, self.q), self.heads)
        read = () if memory is None else tuple(split_heads(project(memory, weight), self.kv_heads) for weight in (self.k, self.v))
        out = self.mechanism(q, *read, **options) if cache is None else cache.step(q, *read, **options)
        return project(merge_heads(out), self.out)
