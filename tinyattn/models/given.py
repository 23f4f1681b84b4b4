"""What callers give as a model, its sizes or its optimiser: told by what it has, and refused by name."""

from __future__ import annotations

from typing import Any


def check_given(name: str, value: Any, expected: str, *attributes: str) -> None:
    """Raises TypeError unless a value can be called, or has the attributes that are asked for.

    >>> check_given("decoder", "seven", "a Decoder", "embedding")
    Traceback (most recent call last):
        ...
    TypeError: decoder: expected a Decoder, got str
    """
    if not (all(hasattr(value, attribute) for attribute in attributes) if attributes else callable(value)):
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}")
