"""What a cache is asked with: options by name and queries by shape, refused before anything is computed or changed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from numpy import ndarray

from tinyattn.caches.protocol import count_of
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


class Names(NamedTuple):
    """The options that a cache takes, None for any; those without which it cannot answer; those that it gives itself."""

    known: frozenset[str] | None
    needed: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()


READING = Names(frozenset({"mask", "bias", "window", "scale", "softcap", "sinks"}), own=frozenset({"causal"}))


def names_of(mechanism: Callable[..., Any], own: Mapping[str, Any] | frozenset[str]) -> Names:
    """Returns the options of a mechanism(q, k, v, **options), without those that the cache gives itself.

    Raises:
        TypeError: what cannot be called.
    """
    check_function("mechanism", mechanism, "q, k, v")
    own = frozenset(own)
    found = [*inspect.signature(mechanism).parameters.values()]
    if any(one.kind is one.VAR_KEYWORD for one in found):
        return Names(None, own=own)
    options = [one for one in found[3:] if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD) and one.name not in own]
    return Names(frozenset(one.name for one in options), frozenset(one.name for one in options if one.default is one.empty), own)


def check_options(method: str, options: Mapping[str, Any], names: Names) -> None:
    """Raises TypeError for an option that the cache does not take, that it gives itself, or that is missing."""
    for name in options:
        if name in names.own:
            raise TypeError(f"{method}: {name} is given by the cache itself, which reads causally behind what it holds; leave it out")
        if names.known is not None and name not in names.known:
            near = get_close_matches(name, names.known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"this cache takes {', '.join(sorted(names.known)) or 'none'}"
            raise TypeError(f"{method}: unexpected option {name!r}; {hint}")
    if names.needed and (missing := names.needed - options.keys()):
        raise TypeError(f"{method}: {', '.join(sorted(missing))}: missing; the cache's mechanism needs it with every call")


def check_fit(q: Array, k: Array) -> Array:
    """Returns queries (..., heads, i, head_dim) as a plain array; an error unless they fit keys (..., kv_heads, n, head_dim)."""
    if type(q) is not ndarray or q.ndim < 2:
        count_of(q)
    q = floating("q", q)
    if q.dtype != k.dtype:
        raise TypeError(f"q: expected the dtype of the keys, {k.dtype}, got {q.dtype}")
    shape, kv_shape = q.shape, k.shape
    if len(shape) != len(kv_shape) or shape[:-3] != kv_shape[:-3] or shape[-1] != kv_shape[-1]:
        raise ValueError(f"q: expected leading axes {kv_shape[:-3]} and {kv_shape[-1]} channels as in the keys, got shape {shape}")
    heads, kv_heads = shape[-3], kv_shape[-3]
    if heads % kv_heads if heads and kv_heads else heads != kv_heads:
        raise ValueError(f"q: expected a multiple of the {kv_heads} kv_heads as heads, got {heads} in shape {shape}")
    return q


def check_function(name: str, function: Any, takes: str) -> None:
    """Raises TypeError for what cannot be called."""
    if not callable(function):
        raise TypeError(f"{name}: expected a function of {takes}, got {type(function).__name__}")
