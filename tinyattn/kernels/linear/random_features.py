"""The random features of the Performer, block by block of rows that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.rows import again
from tinyattn.ops.features import performer_features
from tinyattn.ops.types import Array

# Numbers of a block of features.
BLOCK = 1 << 15


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Yields slices of rows, as many as make a block."""
    step = max(1, BLOCK // max(width, 1))
    return (slice(start, start + step) for start in range(0, rows, step))


def features_in_numpy(x: Array, projection: Array) -> Array:
    """Returns `random_features` by functions that have rules."""
    return performer_features(x, projection=projection)


@again(features_in_numpy)
@primitive
def random_features(x: Array, projection: Array) -> tuple[Array, Any]:
    """Returns (`performer_features` of x (..., length, d), what the backward reads) for a projection (features, d) of its dtype."""
    count, factor = len(projection), x.shape[-1] ** -0.25
    out, rows = pages.empty((*x.shape[:-1], count), x.dtype), x.reshape(-1, x.shape[-1])
    filled, directions = out.reshape(-1, count), projection.T * x.dtype.type(factor)
    for part in blocks(len(rows), count):
        block, result = rows[part], filled[part]
        np.matmul(block, directions, out=result)
        result -= np.einsum("id,id->i", block, block)[:, None] * x.dtype.type(0.5 * factor * factor)
        np.exp(result, out=result)
        result *= x.dtype.type(count ** -0.5)
    return out, (x, projection, out)


@random_features.backward
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    x, projection, out = saved
    count, factor = len(projection), x.shape[-1] ** -0.25
    d_x, d_projection = pages.empty(x.shape, x.dtype), pages.zeros(projection.shape, x.dtype)
    rows, d_rows = x.reshape(-1, x.shape[-1]), d_x.reshape(-1, x.shape[-1])
    features, given = out.reshape(-1, count), d_out.reshape(-1, count)
    for part in blocks(len(rows), count):
        block, slopes = rows[part], given[part] * features[part]
        np.matmul(slopes, projection, out=d_rows[part])
        d_projection += slopes.T @ block
        d_rows[part] -= slopes.sum(axis=-1, keepdims=True) * x.dtype.type(factor) * block
    d_x *= x.dtype.type(factor)
    d_projection *= x.dtype.type(factor)
    return {"x": d_x, "projection": d_projection}
