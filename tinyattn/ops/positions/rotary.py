"""Rotary positions: each pair of channels is rotated by its frequency times the position."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tinyattn.ops.checks import check_broadcast, has_axes, index_array, truth, whole
from tinyattn.ops.positions.frequencies import Frequencies, plain
from tinyattn.ops.signature import floating, of_shape
from tinyattn.ops.storage import is_half, narrow, to_single, widened
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, check_grid, coordinates

# A decoding step needs the angles of one position at a time; they are computed for this many positions at once.
RUN = 256
BASE = 10000.0


@widened
def rotary(x: Array, positions: Array, *, base: float = BASE, interleaved: bool = False, dims: int | None = None,
           frequencies: Frequencies | Array | None = None) -> Array:
    """Returns x with each pair (a, b) of channels rotated by the angle position * frequency.

    Formula: a' = a cos - b sin, b' = b cos + a sin; the pairs are (i, i + dims / 2), or (2 i, 2 i + 1) if
    `interleaved`. Angles are float64. A dot product of two rotated vectors depends on their distance alone.

    Shapes: x (..., length, head_dim), positions of integers that broadcast to x.shape[:-1] -> as x. With `dims` only the
    first `dims` channels are rotated. `frequencies`, such as `yarn_frequencies` and its siblings return, replace those of
    the base.

    Raises:
        TypeError: the positions are not integers. ValueError: the number of channels is odd, positions or frequencies have
            another shape, or both `frequencies` and a base are given.

    Paper: Su et al. 2021, arXiv:2104.09864.

    >>> rotary(np.array([[1.0, 0.0]]), np.array([0]))
    array([[1., 0.]])
    """
    x = floating("x", x)
    width = has_axes("x", x, 1)[-1]
    interleaved, dims = truth("interleaved", interleaved), width if dims is None else whole("dims", dims, 0)
    if dims > width:
        raise ValueError(f"dims: expected at most the width {width} of x {x.shape}, got {dims}")
    if dims == width and width % 2:
        raise ValueError(f"x: rotary positions rotate pairs of channels and need an even head_dim, got shape {x.shape}")
    given = frequencies_for(dims, base, frequencies)
    positions = index_array("positions", positions)
    check_broadcast("positions", positions.shape, x.shape[:-1], "(..., length)")
    angles, factor = positions[..., None] * given.values, given.attention_factor
    cos, sin = (factor * np.cos(angles)).astype(x.dtype), (factor * np.sin(angles)).astype(x.dtype)
    return turn_pairs(x, cos, sin, interleaved)


def frequencies_for(dims: int, base: float, given: Frequencies | Array | None) -> Frequencies:
    """Returns the frequencies of so many channels: the given ones, or those of the base.

    Raises:
        TypeError, ValueError: frequencies of another shape, or a base beside them.
    """
    if given is None:
        return Frequencies(plain(dims, base))
    plain(dims, base)  # checks both
    if base != BASE:
        raise ValueError(f"base, frequencies: expected one of them, got base {base} beside frequencies, which hold a base already")
    found = given if isinstance(given, Frequencies) else Frequencies(floating("frequencies", given))
    of_shape("frequencies", found.values, (dims // 2,), f" for {dims} channels")
    return found


@widened
def rotary_by(x: Array, cos: Array, sin: Array, *, interleaved: bool = False) -> Array:
    """Returns x with pair i of its channels rotated by the angle whose cosine and sine stand in column i of the tables.

    Formula: a' = a cos - b sin, b' = b cos + a sin; the pairs are (i, i + n), or (2 i, 2 i + 1) if `interleaved`. The first 2 n
    channels are rotated, and the rest is returned as it is. Models that mix several kinds of positions bring such tables.

    Shapes: x (..., length, head_dim), cos and sin (..., length, n), which broadcast to (*x.shape[:-1], n) -> as x. Tables per
    batch have the shape (batch, 1, length, n).

    Raises:
        TypeError: an array is not floating. ValueError: tables of different shapes, that do not broadcast to x, or of more
            pairs than x has.

    >>> rotary_by(np.array([[1.0, 0.0, 5.0]]), np.array([[0.0]]), np.array([[1.0]]))
    array([[0., 1., 5.]])
    """
    x, cos, sin = (floating(name, value) for name, value in (("x", x), ("cos", cos), ("sin", sin)))
    if 2 * has_axes("cos", cos, 1)[-1] > has_axes("x", x, 2)[-1]:
        raise ValueError(f"cos: expected at most half of the {x.shape[-1]} channels of x {x.shape} as columns, got {cos.shape}")
    check_broadcast("cos", cos.shape[:-1], x.shape[:-1], "(..., length)")
    if cos.shape != sin.shape:
        raise ValueError(f"sin: expected the shape of cos {cos.shape}, got {sin.shape}")
    return turn_pairs(x, cos.astype(x.dtype), sin.astype(x.dtype), truth("interleaved", interleaved))


def turn_pairs(x: Array, cos: Array, sin: Array, interleaved: bool) -> Array:
    """Returns x with as many of its pairs rotated as the tables have columns."""
    half = cos.shape[-1]
    part = x if 2 * half == x.shape[-1] else x[..., : 2 * half]
    if interleaved:
        a, b = part[..., 0::2], part[..., 1::2]
        pairs = np.stack((a * cos - b * sin, b * cos + a * sin), axis=-1)
        part = pairs.reshape(*x.shape[:-1], 2 * half)
    else:
        a, b = part[..., :half], part[..., half:]
        part = np.concatenate((a * cos - b * sin, b * cos + a * sin), axis=-1)
    return part if 2 * half == x.shape[-1] else np.concatenate((part, x[..., 2 * half :]), axis=-1)


def rotary_from(x: Array, start: int, *, base: float = 10000.0) -> Array:
    """Returns `rotary(x, np.arange(start, start + length), base=base)`: consecutive tokens, the first at position `start`.

    The cosines and sines are kept for the next call, as the queries and keys of all layers of a model share them.

    >>> x = np.ones((2, 3, 4))
    >>> bool((rotary_from(x, 7) == rotary(x, np.arange(7, 10))).all())
    True
    """
    if is_half(x.dtype):  # `widened` would take as long as the rotation of a small head in a decoding step
        turned: Array = narrow(rotary_from(to_single(x), start, base=base), x.dtype)
        return turned
    length, dims = x.shape[-2:]
    first = start // RUN * RUN
    run = slice(start - first, start - first + length)
    cos, sin = turns(first, -(-run.stop // RUN) * RUN, dims, base, x.dtype)
    pairs = x.reshape(*x.shape[:-1], 2, dims // 2)
    return (pairs * cos[run] + pairs[..., ::-1, :] * sin[run]).reshape(x.shape)


@lru_cache(maxsize=1)
def turns(start: int, length: int, dims: int, base: float, dtype: Any) -> tuple[Array, Array]:
    """Returns cos (length, 1, dims / 2), and (length, 2, dims / 2) with -sin for the first of each pair and sin for the second."""
    angles = np.arange(start, start + length)[:, None] * plain(dims, base)
    cos, sin = np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
    return cos[:, None], np.stack((-sin, sin), axis=-2)


@widened
def rotary_2d(x: Array, *, grid: Grid, base: float = 10000.0, interleaved: bool = False) -> Array:
    """Returns x with the first half of its channels rotated by the row of the cell, and the other half by the column.

    Formula: [rotary(x_1, row) ; rotary(x_2, column)]. A dot product of two rotated vectors depends only on the distances
    between the rows and between the columns.

    Shapes: x (..., rows * columns, head_dim), cells in row-major order, head_dim a multiple of 4 -> as x.

    Raises:
        TypeError, ValueError: the grid does not have two axes whose product is the length, or head_dim is not a multiple of 4.

    Paper: Su et al. 2021, arXiv:2104.09864; in two dimensions: Heo et al. 2024, arXiv:2403.13298.

    >>> rotary_2d(np.ones((1, 4)), grid=(1, 1))
    array([[1., 1., 1., 1.]])
    """
    x = floating("x", x)
    if x.ndim < 2 or x.shape[-1] % 4:
        raise ValueError(f"x: expected (..., length, head_dim) with a head_dim that is a multiple of 4, got shape {x.shape}")
    grid = check_grid(grid, x, name="x")
    if len(grid) != 2:
        raise ValueError(f"grid: expected (rows, columns), got {grid}")
    half = x.shape[-1] // 2
    row, column = coordinates(grid).T
    return np.concatenate((rotary(x[..., :half], row, base=base, interleaved=interleaved),
                           rotary(x[..., half:], column, base=base, interleaved=interleaved)), axis=-1)
