"""Biases given as a function of the distance: they are evaluated tile by tile, so that a long context needs no square array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinyattn.ops.checks import integers, one_axis, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import to_single
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class Bias:
    """A bias as a function of the distance, the position of the key minus that of the query.

    `of` takes an integer array of distances and returns (heads, *shape of the distances), which is added to the scores.

    >>> Bias(lambda distance: 0.5 * distance[None]).dense(1, 3)
    array([[[-1. , -0.5,  0. ]]])
    """

    of: Callable[[Array], Array]

    def __post_init__(self) -> None:
        if not callable(self.of):
            raise TypeError(f"of: expected a function of distances, got {type(self.of).__name__}")

    def tile(self, q_positions: Array, kv_positions: Array) -> Array:
        """Returns the bias (heads, i, j) of queries and keys at these positions."""
        given = {"q_positions": q_positions, "kv_positions": kv_positions}
        q_positions, kv_positions = (one_axis(name, integers(name, positions, 0)) for name, positions in given.items())
        return self.of(kv_positions - q_positions[:, None])

    def dense(self, q_len: int, kv_len: int) -> Array:
        """Returns the bias (heads, q_len, kv_len) in which query i has the position i + kv_len - q_len."""
        q_len, kv_len = whole("q_len", q_len, 0), whole("kv_len", kv_len, 0)
        return self.of(np.arange(kv_len) - np.arange(kv_len - q_len, kv_len)[:, None])


def owned(array: Array) -> Array:
    """Returns a copy of an array, which its owner may change later; float16 and bfloat16 become float32. A Tensor is not copied."""
    single: Array = to_single(array)
    return single.copy() if isinstance(single, np.ndarray) else single


def alibi(slopes: Array) -> Bias:
    """Returns the bias -slope_h |p_i - p_j|: the more distant a key, the lower its weight. slopes (heads,). arXiv:2108.12409.

    >>> alibi(np.array([0.5])).dense(1, 3)
    array([[[-1. , -0.5, -0. ]]])
    """
    slopes = owned(floating("slopes", slopes))
    if slopes.ndim != 1:
        raise ValueError(f"slopes: expected shape (heads,), got {slopes.shape}")
    if not np.isfinite(slopes).all():
        raise ValueError("slopes: expected finite numbers, got NaN or inf")

    def of(distance: Array) -> Array:
        far = np.abs(distance).astype(slopes.dtype)
        return -slopes.reshape(-1, *[1] * far.ndim) * far

    of.slopes = slopes  # type: ignore[attr-defined]  # kernels compute this bias from the slopes and not from a table
    return Bias(of)


def relative(table: Array, buckets: Callable[[Array], Array]) -> Bias:
    """Returns the bias table[buckets(p_j - p_i), h]: a learned number per bucket of distances and head.

    table (count, heads) has a gradient. `buckets` maps integer distances to rows of the table, as
    `functools.partial(t5_buckets, causal=True)` does. arXiv:1910.10683.

    Raises:
        IndexError: `buckets` returned a row that the table does not have (raised when the bias is evaluated).

    >>> relative(np.array([[1.0], [2.0]]), lambda distance: (distance < 0).astype(int)).dense(2, 2)
    array([[[1., 1.],
            [2., 1.]]])
    """
    table = owned(floating("table", table))
    if table.ndim != 2:
        raise ValueError(f"table: expected shape (buckets, heads), got {table.shape}")
    if not callable(buckets):
        raise TypeError(f"buckets: expected a function from distances to rows of the table, got {type(buckets).__name__}")

    def of(distance: Array) -> Array:
        rows = integers("buckets", buckets(distance), 0)
        if rows.shape != distance.shape:
            raise ValueError(f"buckets: expected one row per distance {distance.shape}, got shape {rows.shape}")
        if rows.size and not 0 <= rows.min() <= rows.max() < table.shape[0]:
            raise IndexError(f"buckets: expected rows of table {table.shape}, got {int(rows.min())} to {int(rows.max())}")
        return np.moveaxis(table[rows], -1, 0)

    return Bias(of)
