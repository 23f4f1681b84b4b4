"""Caches by name: those through which the model of a mechanism can decode, with settings for a given length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from tinyattn.caches import HeavyHitters, SnapKV
from tinyattn.caches.protocol import Cache
from tinyattn.catalog import caches
from tinyattn.catalog.row import Row
from tinyattn.cli.names import canonical

Make = Callable[[], Cache]
# A function (length, kv_heads, head_dim, value_dim, itemsize) -> bytes.
Formula = Callable[..., int]
T = TypeVar("T")
CODES = {name: {"bits": bits, "group": 32, "residual": 32} for name, bits in (("int8", 8), ("int4", 4))}


def settings_for(length: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Returns the caches of keys and values: the name of each in the catalog, and settings with room for so many tokens.

    Caches that forget hold a quarter of them.
    """
    part = max(length // 4, 2)
    return {
        "growing": ("GrowingCache", {}),
        "fixed": ("FixedCache", {"capacity": length}),
        "paged": ("PagedCache", {"pages": -(-length // 16), "page_size": 16}),
        "int8": ("QuantizedCache", CODES["int8"]),
        "int4": ("QuantizedCache, 4 bits", CODES["int4"]),
        "ring": ("RingCache", {"window": part, "slack": 0}),
        "ring-first": ("RingCache, first kept", {"window": part - part // 8, "keep_first": part // 8, "slack": 0}),
        "heavy": ("EvictingCache", {"policy": HeavyHitters(part // 2, part - part // 2)}),
        "snapkv": ("EvictingCache, SnapKV", {"policy": SnapKV(part, max(part // 4, 1))}),
    }


def caches_of(row: Row, length: int) -> dict[str, Make]:
    """Returns the caches of a mechanism by name, each with room for so many tokens; the first is the default.

    Raises:
        ValueError: a mechanism that is not a causal token mixer.

    >>> from tinyattn.catalog import find
    >>> list(caches_of(find("linear_attention"), 8))
    ['state']
    """
    if row.mixer is None or row.cache is None:
        raise ValueError(f"{row.name}: is not a causal token mixer of its own; see tinyattn list")
    if row.name != "attention":
        return {type(row.cache()).__name__.removesuffix("Cache").lower(): row.cache}
    return {name: partial(caches.find(known).made, **settings) for name, (known, settings) in settings_for(length).items()}


def formulas() -> dict[str, Formula]:
    """Returns the formulas of the bytes that caches hold, which the laws of the catalog check."""
    names = {"growing": "GrowingCache", "int8": "QuantizedCache", "int4": "QuantizedCache, 4 bits", "latent": "LatentCache",
             "state": "StateCache"}
    return {name: partial(caches.find(known).nbytes, **CODES.get(name, {})) for name, known in names.items()}


def named(name: str, known: Mapping[str, T], kind: str = "cache") -> T:
    """Returns the value of a name; ValueError for an unknown one, with the nearest names."""
    return known[canonical(name, known, kind)]
