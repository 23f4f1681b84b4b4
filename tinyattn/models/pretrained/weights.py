"""How many bytes the weights of a model take, and which weights are not finite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from tinyattn.ops.files.stored import Stored
from tinyattn.ops.positions.frequencies import Frequencies, FrequenciesByLength
from tinyattn.ops.types import Array

# Rows that are dequantised at once.
ROWS = 512


def arrays_of(tree: Any) -> Iterator[Array]:
    """Yields the arrays of a model, those that stay in a file as their bytes."""
    if isinstance(tree, Stored):
        yield tree.raw
    elif isinstance(tree, np.ndarray):
        yield tree
    elif isinstance(tree, tuple):
        for part in tree:
            yield from arrays_of(part)
    elif is_dataclass(tree) and not isinstance(tree, (type, Frequencies, FrequenciesByLength)):  # frequencies are computed, not loaded
        for part in fields(tree):
            yield from arrays_of(getattr(tree, part.name))


def weight_bytes(tree: Any) -> int:
    """Returns the bytes of all arrays of a model, each counted once.

    >>> weight_bytes((np.zeros(2), np.zeros(3)))
    40
    """
    return sum({(array.__array_interface__["data"][0], array.nbytes): array.nbytes for array in arrays_of(tree)}.values())


def check_finite(weights: Mapping[str, Stored]) -> None:
    """Raises ValueError that names the first tensor with a number that is not finite, and how many there are."""
    broken = [name for name, stored in weights.items() if not is_finite(stored)]
    if broken:
        more = f" and {len(broken) - 1} more tensors" if broken[1:] else ""
        raise ValueError(f"weights: NaN or infinite numbers in {broken[0]}{more}")


def is_finite(stored: Stored) -> bool:
    """Returns whether all numbers of a tensor are finite; a few rows are dequantised at a time."""
    tiles = (tile for _, tile in stored.tiles(ROWS)) if stored.shape else [stored.array()]
    return all(bool(np.isfinite(tile).all()) for tile in tiles)
