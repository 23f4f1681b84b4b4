"""The metadata of a cache's file: the kind of the cache, the numbers it was made with, and which arrays were bfloat16."""

from __future__ import annotations

import os
from inspect import signature
from typing import Any

import numpy as np

from tinyattn.ops.types import Array

BFLOAT16 = "bfloat16"


def check_path(path: str | os.PathLike[str]) -> None:
    """Raises TypeError for an object that cannot name a file."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"path: expected a str or an os.PathLike, got {type(path).__name__}")


def settings_of(metadata: dict[str, str], kind: type[Any], path: object) -> dict[str, int]:
    """Returns the numbers that a cache in a file was made with; ValueError if it is of another kind."""
    if metadata.get("cache") != kind.__name__:
        raise ValueError(f"{path}: expected a {kind.__name__}, got {metadata.get('cache', 'no cache')}")
    settings = {name: text for name, text in metadata.items() if name != "cache"}
    for name, text in settings.items():
        if not text.isdecimal():
            raise ValueError(f"{path}: {name}: expected a whole number, got {text!r}")
        if name not in signature(kind).parameters:
            raise ValueError(f"{path}: {name}: a {kind.__name__} has no such setting")
    return {name: int(text) for name, text in settings.items()}


def stored_as(dtype: str, names: list[str], arrays: dict[str, Array], path: object) -> dict[str, Array]:
    """Returns these arrays of a file in the dtype in which they were saved; the reader of safetensors widens them."""
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"{path}: expected an array {missing[0]}, which the file lists as {dtype}")
    try:
        return {name: arrays[name].astype(np.dtype(dtype)) for name in names}
    except TypeError:
        raise ValueError(f"{path}: holds {dtype}, which NumPy knows once ml_dtypes is imported; import it first") from None
