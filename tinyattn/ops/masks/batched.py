"""Patterns that differ between the sequences of a batch: padding and packed documents."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import integers, whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.types import Array


def padding(lengths: Array) -> Pattern:
    """Returns j < lengths[sequence]: the keys after the end of a sequence are padding. lengths (batch,) or (..., batch).

    >>> padding(np.array([1, 2])).dense(1, 2)
    array([[[[ True, False]]],
           [[[ True,  True]]]])
    """
    lengths = integers("lengths", lengths)
    if lengths.size and lengths.min() < 0:
        raise ValueError(f"lengths: expected 0 or more, got {int(lengths.min())}")
    ends = lengths[..., None, None, None]
    return Pattern(lambda i, j: j < ends, corners=lambda i0, i1, j0, j1: (j0 < ends, j1 < ends), text=f"padding({lengths.tolist()})")


def documents(ids: Array) -> Pattern:
    """Returns ids[i] == ids[j]: packed documents do not see each other. ids (length,) or (batch, length).

    Raises:
        ValueError: a position is beyond the length of the ids (raised when the pattern is evaluated).

    >>> documents(np.array([0, 0, 1])).dense(3, 3)[2]
    array([False, False,  True])
    """
    ids = integers("ids", ids)
    length = ids.shape[-1]
    table = ids if ids.ndim == 1 else ids[..., None, :]  # the heads axis

    def checked(positions: Array) -> Array:
        if positions.size and positions.max() >= length:
            raise ValueError(f"ids: expected an id for each of the {int(positions.max()) + 1} positions, "
                             f"got shape {ids.shape}")
        return positions

    def see(i: Array, j: Array) -> Any:
        i, j = checked(i).reshape(-1), checked(j).reshape(-1)
        same = table[..., np.maximum(i, 0)][..., :, None] == table[..., j][..., None, :]
        return same & (i >= 0)[:, None]  # with more queries than keys, the first queries lie before all documents

    def spans(low: Array, high: Array) -> tuple[Array, Array]:
        pairs = list(zip(low.reshape(-1).tolist(), high.reshape(-1).tolist(), strict=True))
        runs = [table[..., max(a, 0) : max(b, 0) + 1] for a, b in pairs]
        empty = np.zeros((*table.shape[:-1], 0), table.dtype)
        least = np.stack([run.min(axis=-1) for run in runs], axis=-1) if runs else empty
        return least, np.stack([run.max(axis=-1) for run in runs], axis=-1) if runs else empty

    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        (least_i, most_i), (least_j, most_j) = spans(checked(i0), checked(i1)), spans(checked(j0), checked(j1))
        least_i, most_i, least_j, most_j = (least_i[..., :, None], most_i[..., :, None],
                                            least_j[..., None, :], most_j[..., None, :])
        some = (least_i <= most_j) & (least_j <= most_i) & (i1 >= 0)
        return some, (least_i == most_i) & (least_j == most_j) & (least_i == least_j) & (i0 >= 0)

    return Pattern(see, corners=corners, text=f"documents({ids.tolist()})")


def documents_from_offsets(offsets: Array, length: int) -> Pattern:
    """Returns documents(...) from the start of each document and the end of the last: [0, ..., length], known as cu_seqlens.

    Raises:
        ValueError: the offsets do not start at 0, decrease, or do not end at length; the error names the first such offset.

    >>> documents_from_offsets(np.array([0, 2, 3]), 3).dense(3, 3)[1]
    array([ True,  True, False])
    """
    offsets = integers("offsets", offsets)
    if offsets.ndim != 1 or offsets[:1].tolist() != [0]:
        raise ValueError(f"offsets[0]: expected 0, got {offsets[:1].tolist()} of shape {offsets.shape}")
    falls = np.flatnonzero(np.diff(offsets) < 0)
    if falls.size:
        place = int(falls[0]) + 1
        raise ValueError(f"offsets[{place}]: expected {offsets[place - 1]} or more, got {offsets[place]}")
    if offsets[-1] != whole("length", length, 0):
        raise ValueError(f"offsets[{len(offsets) - 1}]: expected the length {length}, got {offsets[-1]}")
    return documents(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)))
