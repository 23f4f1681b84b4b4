"""One row a cache: what it keeps, in how many bytes, what it cannot do, and what must hold of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from tinyattn import caches, definitions
from tinyattn.catalog.latent import ABSORBED, latent
from tinyattn.catalog.row import Paper
from tinyattn.laws import cached
from tinyattn.laws.draw import softmax
from tinyattn.laws.forgetting import heaviest, in_codes, keeping, last_and_first, rounding_bound, voted
from tinyattn.laws.law import Draw, Law
from tinyattn.laws.linear import always
from tinyattn.laws.problem import Mechanism, Problem, Sizes
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.types import Array

Make = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class CacheRow:
    """One cache: its class, how it is made, and the full computation that it must equal.

    `kind` is exact, approximate (within a bound or on what is kept), or that of what it stands around. `nbytes(length, kv_heads,
    head_dim, value_dim, itemsize, **settings)` is the closed formula of its size for one sequence, `formula` the same in
    words. `cannot` are the acts that are a named error. `laws_of(make)` are the laws of a cache made so, and `mechanism` what
    one call over all tokens gives.
    """

    name: str
    says: str
    cache: type[Any]
    kind: str
    formula: str
    nbytes: Callable[..., int]
    cannot: tuple[str, ...]
    mechanism: Mechanism
    laws_of: Callable[[Make], tuple[Law, ...]]
    papers: tuple[Paper, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    make: Make | None = None

    def made(self, *arguments: Any, **settings: Any) -> Any:
        """Returns an empty cache with the row's settings, some of them replaced."""
        return (self.make or self.cache)(*arguments, **{**self.settings, **settings})

    @property
    def laws(self) -> tuple[Law, ...]:
        """The laws of the cache itself."""
        return self.laws_of(self.made)

    def fit(self, sizes: Sizes) -> Sizes:
        """Returns the sizes as they are: a cache takes all."""
        return sizes


def causal(*names: str, **fixed: Any) -> Draw:
    """Returns the drawing of causal problems with these options, of fixed sizes where told."""
    draw = softmax(*names)
    return lambda rng, sizes: draw(rng, replace(sizes, **fixed)).but(causal=True)


DRAW = causal("scale", "softcap", "sinks")
# Weights that tie are told apart by rounding alone.
UNTIED = causal("scale", "softcap", "sinks", regime="plain", kv_heads=2, groups=2)


def even(rng: np.random.Generator, sizes: Sizes) -> Problem:
    """A causal problem of an even head_dim."""
    return causal("scale")(rng, replace(sizes, head_dim=2 * ((sizes.head_dim + 1) // 2)))


def tokens(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int, **_: Any) -> int:
    """Returns the bytes of so many keys and values."""
    return length * kv_heads * (head_dim + value_dim) * itemsize


def ring(length: int, *sizes: int, window: int, keep_first: int = 0, slack: int = 0, **_: Any) -> int:
    """Returns the bytes of the first tokens and the last."""
    return tokens(min(length, keep_first + window + slack), *sizes)


def quantised(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int, *, bits: int = 8, group: int = 32,
              residual: int = 32) -> int:
    """Returns the bytes of codes, of a scale and a zero a group, and of the newest tokens."""
    old, number = max(0, length - residual) // group * group, max(4, itemsize)
    codes = old * (-(-head_dim * bits // 8) + -(-value_dim * bits // 8))
    scales = 2 * number * (old // group * head_dim + old * -(-value_dim // group))
    return kv_heads * (codes + scales) + tokens(length - old, kv_heads, head_dim, value_dim, itemsize)


def state(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int, *, slack: int = 0) -> int:
    """Returns the bytes of the state with its normaliser, of its check-points and of the tokens since the older one."""
    marks, since = (min(length // slack, 2), length - max(0, length // slack - 1) * slack) if slack else (0, 0)
    states = (1 + marks) * kv_heads * head_dim * (value_dim + 1) * max(4, itemsize)
    return states + tokens(since, kv_heads, head_dim, value_dim, itemsize)


def evicted(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int, *, policy: Any) -> int:
    """Returns the bytes of the tokens held, each with its weight and its position."""
    return policy.held(length) * kv_heads * ((head_dim + value_dim) * itemsize + max(4, itemsize) + 8)


def latents(length: int, kv_heads: int, head_dim: int, value_dim: int, itemsize: int) -> int:
    """Returns the bytes of latents of head_dim numbers and rotated keys of value_dim, for any number of heads."""
    return length * (head_dim + value_dim) * itemsize


def usual(make: Make, draw: Draw = DRAW) -> tuple[Law, ...]:
    """Returns the laws of a cache that can do everything."""
    return (*cached.laws(make, draw), cached.truncated(make, draw), cached.reordered(make, draw))


def joined(p: Problem) -> Problem:
    """Returns a problem of latent attention with its queries in one array, as a LatentCache takes it in."""
    options = {name: option for name, option in p.options.items() if name != "q_rope"}
    return Problem(np.concatenate((p.q, p.options["q_rope"]), axis=-1), p.k, p.v, options)


def of_latents(make: Make) -> tuple[Law, ...]:
    """Returns the laws of a cache of latents."""
    return (*cached.laws(make, latent, joined), cached.truncated(make, latent, joined), cached.reordered(make, latent, joined))


def rebased(first: int, window: int) -> Mechanism:
    """Returns StreamingLLM's attention, over tokens that it rotates itself."""
    def f(q: Array, k: Array, v: Array, *, scale: float | None = None, **_: Any) -> Any:
        return definitions.streaming_llm_attention(q, k, v, first=first, window=window, scale=scale)

    return f


def in_bound(bits: int, group: int) -> Callable[[Make], tuple[Law, ...]]:
    """Returns the laws of a cache that rounds: what it computes, and how far that is from attention."""
    draw = causal("scale", "softcap", "sinks")

    def held(make: Make, p: Problem) -> tuple[Array, Array]:
        out, truth = cached.steps(make(), p), np.asarray(p.call(definitions.attention))
        bound = rounding_bound(p, bits, group)
        return out, np.clip(out, truth - bound, truth + bound).astype(out.dtype)

    return lambda make: (*usual(make), Law("within_the_bound", "No output is farther from attention's than what rounding keys and "
                                           "values by half a scale can do.", cached.square(draw, 8),
                                           lambda f, p: (held(make, p)[0],), lambda f, p: (held(make, p)[1],)))


def weighed(make: Make) -> tuple[Law, ...]:
    """Returns the laws of a cache that forgets by weight: truncation is none of its acts."""
    return (*(law for law in cached.laws(make, UNTIED) if law.name != "tokens_of_zeros_count"), cached.reordered(make, UNTIED))


BUDGET, VOTERS, KERNEL, DECODED = 4, 2, 3, 2


def prompted(q: Array, k: Array, v: Array, **options: Any) -> Any:
    """SnapKV after a prompt of all tokens but the last two."""
    return keeping(voted(k.shape[-2] - DECODED, BUDGET, VOTERS, KERNEL))(q, k, v, **options)


def after_a_prompt(make: Make) -> tuple[Law, ...]:
    """Returns the law of a cache that forgets once."""
    return (Law("a_prompt_is_voted_on", "Decoding reads what the prompt's last queries looked at, and all later tokens.",
                cached.square(UNTIED, 9), cached.full,
                lambda f, p: (cached.steps(make(), p, (p.k.shape[-2] - DECODED, 1)),)),)


def paged(pages: int, page_size: int) -> Any:
    """Returns a sequence of a pool of its own."""
    return caches.PagePool(pages, page_size).sequence()


def reader(source: Any = None) -> Any:
    """Returns a reader of a source, by itself of an empty one."""
    return caches.SharedCache(caches.GrowingCache() if source is None else source)


def with_source(make: Make) -> tuple[Law, ...]:
    """Returns the law of a reader."""
    def pair() -> tuple[Any, Any]:
        source = caches.GrowingCache()
        return source, make(source)

    return (cached.read_by_others(pair, DRAW),)


ALL = "length kv_heads (head_dim + value_dim) itemsize"
STREAMING = (Paper("Xiao et al.", 2023, "2309.17453"),)
KIVI = (Paper("Liu et al.", 2024, "2402.02750"),)
CODES = ("kv_heads (old (ceil(head_dim bits / 8) + ceil(value_dim bits / 8)) + 2 max(4, itemsize) (old / group head_dim + old ceil("
         "value_dim / group)) + (length - old) (head_dim + value_dim) itemsize), old = group floor(max(0, length - residual) / group)")
WEIGHED = "held kv_heads ((head_dim + value_dim) itemsize + max(4, itemsize) + 8)"
LAST = "min(length, keep_first + window + slack) kv_heads (head_dim + value_dim) itemsize"
NO_FORGOTTEN = ("truncate by more than slack", "attend where a query sees what is forgotten")
NO_CODES = ("truncate into a group that is in codes", "NaN and inf")
NO_CUT = ("append", "attend after something was forgotten", "truncate but to 0 or its length", "mask, bias and window")
ROWS: tuple[CacheRow, ...] = (
    CacheRow("GrowingCache", "All keys and values, in buffers that double.", caches.GrowingCache, "exact", ALL, tokens, (),
             definitions.attention, usual),
    CacheRow("FixedCache", "All keys and values, in room made once.", caches.FixedCache, "exact", ALL, tokens,
             ("append beyond its capacity",), definitions.attention, usual, settings={"capacity": 32}),
    CacheRow("PagedCache", "Sequences in pages of one pool, which they share where they are equal.", caches.PagedCache, "exact", ALL,
             tokens, ("append when the pool has too few free pages", "anything after free"),
             definitions.attention, usual, (Paper("Kwon et al.", 2023, "2309.06180"),), {"pages": 64, "page_size": 3}, paged),
    CacheRow("RingCache", "The last tokens.", caches.RingCache, "exact", LAST, ring, NO_FORGOTTEN, last_and_first(3), usual,
             (Paper("Beltagy et al.", 2020, "2004.05150"),), {"window": 3, "slack": 2}),
    CacheRow("RingCache, first kept", "The first tokens and the last, where they stood in the text.", caches.RingCache, "exact",
             LAST, ring,
             NO_FORGOTTEN, last_and_first(3, 2), usual, STREAMING,
             {"window": 3, "keep_first": 2, "slack": 2}),
    CacheRow("RingCache, re-based", "The first tokens and the last, at the places that they have in the cache.", caches.RingCache,
             "exact", LAST, ring,
             NO_FORGOTTEN, rebased(2, 3),
             partial(usual, draw=even), STREAMING, {"window": 3, "keep_first": 2, "slack": 2, "rotate": rotary}),
    CacheRow("QuantizedCache", "Older tokens in 8 bits a number, the newest as they came.", caches.QuantizedCache, "approximate",
             CODES, quantised, NO_CODES, in_codes(8, 4, 3), in_bound(8, 4), KIVI,
             {"bits": 8, "group": 4, "residual": 3}),
    CacheRow("QuantizedCache, 4 bits", "Older tokens in 4 bits a number, the newest as they came.", caches.QuantizedCache,
             "approximate", CODES, quantised, NO_CODES, in_codes(4, 3, 2), in_bound(4, 3), KIVI,
             {"bits": 4, "group": 3, "residual": 2}),
    CacheRow("EvictingCache", "The tokens that were given most weight, and the newest.", caches.EvictingCache, "approximate", WEIGHED,
             evicted, NO_CUT, keeping(heaviest(2, 2)), weighed, (Paper("Zhang et al.", 2023, "2306.14048"),),
             {"policy": caches.HeavyHitters(2, 2)}),
    CacheRow("EvictingCache, SnapKV", "Of a prompt, what its last queries look at.", caches.EvictingCache, "approximate", WEIGHED,
             evicted, NO_CUT, prompted, after_a_prompt, (Paper("Li et al.", 2024, "2404.14469"),),
             {"policy": caches.SnapKV(BUDGET, VOTERS, KERNEL)}),
    CacheRow("LatentCache", "A latent vector and a rotated key a token, for all heads.", caches.LatentCache, "exact",
             "length (r + p) itemsize", latents, (), ABSORBED, of_latents, (Paper("DeepSeek-AI", 2024, "2405.04434"),)),
    CacheRow("StateCache", "A state into which all keys are folded.", caches.StateCache, "exact",
             "kv_heads features (value_dim + 1) max(4, itemsize); with slack as much for two check-points, and the tokens since",
             state, ("truncate by more than slack", "attend with several queries"), definitions.linear_attention,
             partial(usual, draw=always(causal=True, normalize=True)), (Paper("Katharopoulos et al.", 2020, "2006.16236"),),
             {"slack": 2}),
    CacheRow("CrossCache", "An encoder's memory, computed once.", caches.CrossCache, "exact", ALL, tokens,
             ("a second memory", "truncate but to 0 or its length"), definitions.attention,
             lambda make: (cached.remembered(make, softmax("scale", "softcap", "sinks")),),
             (Paper("Vaswani et al.", 2017, "1706.03762"),)),
    CacheRow("SharedCache", "Another layer's keys and values.", caches.SharedCache, "as its source", "0", lambda *sizes: 0,
             ("append, reorder and save, which are its source's", "truncate but to its source's length"), definitions.attention,
             with_source, (Paper("Brandon et al.", 2024, "2405.12981"),), make=reader),
    CacheRow("BatchCache", "Rows of different lengths, a cache each.", caches.BatchCache, "as its rows", "the sum over its rows",
             tokens, ("mask and bias arrays",), definitions.attention,
             lambda make: (*cached.laws(make, causal("scale", "softcap", "sinks", leading=(2,))), cached.truncated(
                 make, causal("scale", leading=(2,))), cached.reordered(make, DRAW), cached.ragged(make, DRAW))),
)


def find(name: str) -> CacheRow:
    """Returns the row of a cache by its name.

    Raises:
        ValueError: an unknown name, with the names that come nearest.

    >>> find("RingCache").kind
    'exact'
    """
    for row in ROWS:
        if row.name == name:
            return row
    names = [row.name for row in ROWS]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names
    raise ValueError(f"unknown cache {name!r}; known: {', '.join(near)}")
