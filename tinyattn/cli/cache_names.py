"""Caches by name: what a mechanism's model can be decoded through, and how many bytes each holds."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from tinyattn import caches
from tinyattn.caches.protocol import Cache
from tinyattn.catalog import find
from tinyattn.catalog.caches import find as find_cache
from tinyattn.catalog.row import Row

Make = Callable[[], Cache]
# Bytes from length, kv_heads, head_dim, value_dim, itemsize.
Formula = Callable[[int, int, int, int, int], int]
T = TypeVar("T")
# Tokens a page.
PAGE = 16


def caches_of(row: Row, length: int) -> dict[str, Make]:
    """Returns the caches of a mechanism by name, each with room for so many tokens; its own is the first.

    Plain attention has all: the ring sees the last half, heavy hitters keep half. SnapKV forgets of a prompt alone, and has
    nothing to forget of a text that comes byte by byte.

    Raises:
        ValueError: a mechanism that is no causal token mixer.

    >>> list(caches_of(find("attention"), 8))
    ['growing', 'fixed', 'paged', 'ring', 'int8', 'int4', 'heavy_hitters']
    """
    if row.cache is None:
        raise ValueError(f"{row.name}: is no causal token mixer of its own and has no cache; see tinyattn list")
    own = {name_of(row.cache()): row.cache}
    if row.name != "attention":
        return own
    half, quarter = max(1, length // 2), max(1, length // 4)
    return {**own, "fixed": partial(caches.FixedCache, length),
            "paged": lambda: caches.PagePool(-(-length // PAGE), PAGE).sequence(),
            "ring": partial(caches.RingCache, half),
            "int8": partial(caches.QuantizedCache, bits=8), "int4": partial(caches.QuantizedCache, bits=4),
            "heavy_hitters": partial(caches.EvictingCache, caches.HeavyHitters(quarter, quarter))}


def formulas() -> dict[str, Formula]:
    """Returns the closed formulas of the caches' bytes: the ones that the catalog holds the caches to."""
    rows = {"growing": find("attention"), "state": find("linear_attention")}
    own = {name: row.cache_bytes for name, row in rows.items() if row.cache_bytes is not None}
    return {**own, **{f"int{bits}": partial(find_cache("QuantizedCache").nbytes, bits=bits) for bits in (8, 4)}}


def name_of(cache: Any) -> str:
    """Returns what a cache is called on the command line: GrowingCache is growing."""
    return type(cache).__name__.removesuffix("Cache").lower()


def named(name: str, known: Mapping[str, T], kind: str = "cache") -> T:
    """Returns what stands under a name; ValueError with the names that come nearest."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        raise ValueError(f"unknown {kind} {name!r}; {hint}")
    return known[name]
