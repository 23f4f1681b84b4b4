"""What the file of a cache says besides its arrays: which cache it was, with which numbers, and what was bfloat16."""

from __future__ import annotations

import os
from inspect import signature
from typing import Any

import numpy as np

from tinyattn.ops.types import Array

BFLOAT16 = "bfloat16"


def check_path(path: str | os.PathLike[str]) -> None:
    """Raises TypeError for what names no file."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"path: expected a str or an os.PathLike, got {type(path).__name__}")


def settings_of(metadata: dict[str, str], kind: type[Any], path: object) -> dict[str, int]:
    """Returns the numbers that a cache in a file was made with; ValueError unless it is one of this kind."""
    if metadata.get("cache") != kind.__name__:
        raise ValueError(f"{path}: expected a {kind.__name__}, got {metadata.get('cache', 'no cache')}")
    settings = {name: text for name, text in metadata.items() if name != "cache"}
    for name, text in settings.items():
        if name not in signature(kind).parameters:
            raise ValueError(f"{path}: {name}: is no setting of a {kind.__name__}")
        if not text.isdecimal():
            raise ValueError(f"{path}: {name}: expected a whole number, got {text!r}")
    return {name: int(text) for name, text in settings.items()}


def stored_as(dtype: str, names: list[str], arrays: dict[str, Array], path: object) -> dict[str, Array]:
    """Returns these arrays of a file in the dtype in which they were given to it; a file's reader widens them."""
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"{path}: expected an array {missing[0]}, of which the file says that it is {dtype}")
    try:
        return {name: arrays[name].astype(np.dtype(dtype)) for name in names}
    except TypeError:
        raise ValueError(f"{path}: holds {dtype}, which NumPy knows once ml_dtypes is imported; import it first") from None
