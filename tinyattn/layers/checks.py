"""Checks of what a layer is made of and called with: sizes, parts, mechanisms and caches."""

from __future__ import annotations

from tinyattn.ops.checks import real, whole


def check_heads(width: int, heads: int, kv_heads: int) -> int:
    """Returns the number of channels per head.

    Raises:
        TypeError: sizes that are not ints. ValueError: sizes below 1, heads that do not divide the width, kv_heads that do
            not divide the heads.

    >>> check_heads(12, 6, 2)
    2
    """
    width, heads, kv_heads = whole("width", width, 1), whole("heads", heads, 1), whole("kv_heads", kv_heads, 1)
    if width % heads:
        raise ValueError(f"heads: expected a divisor of the width {width}, got {heads}")
    if heads % kv_heads:
        raise ValueError(f"kv_heads: expected a divisor of the {heads} heads, got {kv_heads}")
    return width // heads


def check_rotated(base: float | None, channels: int) -> None:
    """Raises TypeError or ValueError for a base that is not a number above 1, or for an odd number of channels to rotate."""
    if base is not None:
        real("base", base, above=1.0)
        if channels % 2:
            raise ValueError(f"heads: rotary positions rotate pairs of channels, but {channels} of each head would be rotated")


def check_parts(**parts: object) -> None:
    """Raises TypeError for the first part of a layer that cannot be called."""
    for name, part in parts.items():
        if not callable(part):
            raise TypeError(f"{name}: expected a layer, got {type(part).__name__}")


def check_cache(cache: object, name: str = "cache") -> None:
    """Raises TypeError unless it is a cache or None; the class of a cache is refused too."""
    if cache is not None and (isinstance(cache, type) or not (hasattr(cache, "step") and hasattr(cache, "length"))):
        came = f"the class {cache.__name__}" if isinstance(cache, type) else type(cache).__name__
        raise TypeError(f"{name}: expected a cache, got {came}")


def check_mechanism(mechanism: object) -> None:
    """Raises TypeError for a mechanism that cannot be called."""
    if not callable(mechanism):
        raise TypeError(f"mechanism: expected a function of q, k and v, got {type(mechanism).__name__}")
