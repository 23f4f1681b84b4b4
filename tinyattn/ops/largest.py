"""Selecting the largest numbers of a row; among equal numbers the earlier ones are selected."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import has_axes, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


def largest(numbers: Array, count: int) -> Array:
    """Returns which numbers are among the `count` largest of their row; among equal numbers the earlier ones. No gradient.

    NaN counts as the largest number, because otherwise it would be left out and the result would hide it.
    Sorting the numbers to find the smallest that is selected is three times as fast as sorting their indices.

    >>> largest(np.array([1.0, 3.0, 3.0, 2.0]), 1)
    array([False,  True, False, False])
    """
    count, numbers = whole("count", count, 0), floating("numbers", numbers)
    has_axes("numbers", numbers, 1)
    numbers = np.where(np.isnan(numbers), np.inf, numbers)
    least = np.sort(numbers, axis=-1)[..., max(0, numbers.shape[-1] - max(count, 1)) :][..., :1]
    above, ties = numbers > least, numbers == least
    chosen: Array = above | ties & (np.cumsum(ties, axis=-1) <= count - np.sum(above, axis=-1, keepdims=True))
    return chosen
