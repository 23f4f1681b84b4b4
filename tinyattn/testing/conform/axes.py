"""Layouts: the axes of a kernel's arrays in their order, and arrays brought into it and back."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.types import Array

# Axes of q, k, v and outputs in each layout, as einsum letters; our own arrays are bhtd.
LETTERS = {"BHTD": "bhtd", "BTHD": "bthd", "HTD": "htd", "THD": "thd", "TD": "td"}
AXES = {"b": "batch", "h": "heads", "t": "length", "d": "value_dim"}


def arranged(x: Array, letters: str) -> Array:
    """Returns an array (batch, heads, length, channels) with its axes in another order; axes of size 1 may be left out.

    >>> arranged(np.zeros((1, 2, 3, 4)), "thd").shape
    (3, 2, 4)
    """
    own = "bhtd"[: x.ndim]
    gone = tuple(own.index(letter) for letter in own if letter not in letters)
    kept = [letter for letter in own if letter in letters]
    return np.transpose(np.squeeze(x, gone), [kept.index(letter) for letter in letters])


def restored(x: Array, letters: str) -> Array:
    """Returns an array with axes of these letters as (batch, heads, length, channels).

    >>> restored(np.zeros((3, 2, 4)), "thd").shape
    (1, 2, 3, 4)
    """
    own = "bhtd" if "d" in letters else "bht"
    x = np.transpose(x, [letters.index(letter) for letter in own if letter in letters])
    return np.expand_dims(x, tuple(own.index(letter) for letter in own if letter not in letters))
