"""Rotary positions: each pair of channels turns by its frequency times the position."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tinyattn.ops.checks import has_axes, index_array, truth, whole
from tinyattn.ops.positions.frequencies import Frequencies, plain
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import is_half, narrow, to_single, widened
from tinyattn.ops.types import Array
from tinyattn.ops.windows import Grid, check_grid, coordinates

# Positions that a decoding step turns by are computed so many at a time.
RUN = 256


@widened
def rotary(x: Array, positions: Array, *, base: float = 10000.0, interleaved: bool = False, dims: int | None = None,
           frequencies: Frequencies | Array | None = None) -> Array:
    """Returns x with each pair (a, b) of channels turned by position * frequency.

    Formula: a' = a cos - b sin, b' = b cos + a sin; the pairs are (i, i + dims / 2), or (2 i, 2 i + 1) if
    `interleaved`. Angles are float64. A dot product of two turned vectors depends on their distance alone.

    Shapes: x (..., length, head_dim), positions of integers that broadcast to x.shape[:-1] -> as x. `dims` turns the
    first channels only; `frequencies` is what `yarn_frequencies` and its like return.

    Raises:
        TypeError: positions that are not integers. ValueError: an odd number of channels, positions or
            frequencies of another shape.

    Paper: Su et al. 2021, arXiv:2104.09864.

    >>> rotary(np.array([[1.0, 0.0]]), np.array([0]))
    array([[1., 0.]])
    """
    x = floating("x", x)
    width = has_axes("x", x, 1)[-1]
    interleaved, dims = truth("interleaved", interleaved), width if dims is None else whole("dims", dims, 0)
    if dims > width:
        raise ValueError(f"dims: expected at most the width {width} of x {x.shape}, got {dims}")
    rates = plain(dims, base)
    factor = 1.0
    if isinstance(frequencies, Frequencies):
        rates, factor = frequencies.values, frequencies.attention_factor
    elif frequencies is not None:
        rates = Frequencies(floating("frequencies", frequencies)).values
    if rates.shape != (dims // 2,):
        raise ValueError(f"frequencies: expected shape ({dims // 2},) for {dims} channels, got {rates.shape}")
    positions = index_array("positions", positions)
    fits = positions.ndim <= x.ndim - 1 and all(
        n in (1, m) for n, m in zip(positions.shape[::-1], x.shape[-2::-1], strict=False))
    if not fits:
        raise ValueError(f"positions: expected a shape that broadcasts to {x.shape[:-1]}, got {positions.shape}")
    angles = positions[..., None] * rates
    cos, sin = (factor * np.cos(angles)).astype(x.dtype), (factor * np.sin(angles)).astype(x.dtype)
    part = x if dims == width else x[..., :dims]
    half = dims // 2
    if interleaved:
        a, b = part[..., 0::2], part[..., 1::2]
        pairs = np.stack((a * cos - b * sin, b * cos + a * sin), axis=-1)
        part = pairs.reshape(*x.shape[:-1], dims)
    else:
        a, b = part[..., :half], part[..., half:]
        part = np.concatenate((a * cos - b * sin, b * cos + a * sin), axis=-1)
    return part if dims == width else np.concatenate((part, x[..., dims:]), axis=-1)


def rotary_from(x: Array, start: int, *, base: float = 10000.0) -> Array:
    """Returns `rotary(x, np.arange(start, start + length), base=base)`: a run of tokens, the first at position `start`.

    What they turn by is kept for the next call: the queries and keys of all layers of a model share it.

    >>> x = np.ones((2, 3, 4))
    >>> bool((rotary_from(x, 7) == rotary(x, np.arange(7, 10))).all())
    True
    """
    if is_half(x.dtype):  # asked here: `widened` would cost a decoding step as much as the turn of a small head
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
    """Returns cos (length, 1, dims / 2), and -sin for the first of each pair and sin for the second (length, 2, dims / 2)."""
    angles = np.arange(start, start + length)[:, None] * plain(dims, base)
    cos, sin = np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
    return cos[:, None], np.stack((-sin, sin), axis=-2)


@widened
def rotary_2d(x: Array, *, grid: Grid, base: float = 10000.0, interleaved: bool = False) -> Array:
    """Returns x with the first half of its channels turned by the row of its cell, the other half by the column.

    Formula: [rotary(x_1, row) ; rotary(x_2, column)]; a dot product of two turned vectors depends on both distances alone.

    Shapes: x (..., rows * columns, head_dim), cells in row-major order, head_dim a multiple of 4 -> as x.

    Raises:
        TypeError, ValueError: a grid of two axes that is not the tokens', a head_dim that is no multiple of 4.

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
