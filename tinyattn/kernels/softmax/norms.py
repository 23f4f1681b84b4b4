"""Norms of queries and keys before the kernel, a part of the rows at a time: to a mean square of 1, and to length 1."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.softmax.around import as_rows, by_part
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.rows import again
from tinyattn.kernels.tiles.threads import each
from tinyattn.ops.norm import exact, magnitude, rms_norm, unit
from tinyattn.ops.types import Array


def norm_of_rows(x: Array, weight: Array | None, epsilon: float) -> Array:
    """Returns `normed` by functions that have rules."""
    return rms_norm(x, weight, epsilon=epsilon)


@again(norm_of_rows)
@primitive
def normed(x: Array, weight: Array | None, epsilon: float) -> tuple[Array, Any]:
    """Returns `rms_norm(x, weight, epsilon=epsilon)` of a plain array that is not empty, and of a weight in its dtype.

    Rows whose squares would overflow or underflow are divided by a power of two before.
    """
    out, (roots, sizes) = pages.empty(x.shape, x.dtype), pages.empty((2, x.size // x.shape[-1], 1), x.dtype)
    parts = list(by_part(as_rows(x), as_rows(out), roots, sizes))

    def task(n: int) -> None:
        rows, normal, root, size = parts[n]
        width = rows.shape[-1]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            total = np.vecdot(rows, rows)[:, None] + width * epsilon
            size[:] = 1
            if not exact(total, width * epsilon, rows):
                size[:] = magnitude(rows, epsilon ** 0.5)
                rows = rows / size
                total = np.vecdot(rows, rows)[:, None] + width * (epsilon ** 0.5 / size) ** 2
            root[:] = width ** 0.5 / np.sqrt(total)
            np.multiply(rows, root, out=normal)
            if weight is not None:
                normal *= weight

    each(task, len(parts), x.size)
    return out, (x, weight, roots, sizes)


@normed.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array | None]:
    # Of y = x / |x|: d_x = (d_y - y mean(d_y y)) / |x|, with d_y = d_out weight.
    x, weight, roots, sizes = saved
    d_x = pages.empty(x.shape, x.dtype)
    parts = list(by_part(as_rows(x), as_rows(d_out), as_rows(d_x), roots, sizes))
    d_weights = np.zeros((len(parts), x.shape[-1]), x.dtype)

    def task(n: int) -> None:
        rows, slope, into, root, size = parts[n]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            normal = rows * root
            normal /= size
            if weight is not None:
                np.einsum("rc,rc->c", slope, normal, out=d_weights[n])
                slope = slope * weight
            mean = np.vecdot(slope, normal)[:, None] / x.dtype.type(rows.shape[-1])
            normal *= mean
            np.subtract(slope, normal, out=into)
            into *= root
            into /= size

    each(task, len(parts), x.size)
    return {"x": d_x, "weight": None if weight is None else d_weights.sum(axis=0)}


def unit_in_numpy(x: Array, factor: Array | None) -> Array:
    """Returns `unit_times` by functions that have rules."""
    return unit(x) if factor is None else unit(x) * factor


@again(unit_in_numpy)
@primitive
def unit_times(x: Array, factor: Array | None) -> tuple[Array, Any]:
    """Returns x / |x| of a plain array (..., heads, length, width) that is not empty, times a factor (heads, 1, 1); zeros stay zeros.

    Rows whose squares would overflow or underflow are divided by a power of two before.
    """
    out, (roots, sizes) = pages.empty(x.shape, x.dtype), pages.empty((2, x.size // x.shape[-1], 1), x.dtype)
    factors = [] if factor is None else [as_rows(np.broadcast_to(factor, (*x.shape[:-1], 1)))]
    parts = list(by_part(as_rows(x), as_rows(out), roots, sizes, *factors))

    def task(n: int) -> None:
        rows, normal, root, size, *times = parts[n]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            total = np.vecdot(rows, rows)[:, None]
            size[:] = 1
            if not exact(total, 0.0, rows):
                size[:] = magnitude(rows, 0.0)
                rows = rows / size
                total = np.vecdot(rows, rows)[:, None]
            length = np.sqrt(np.where(total == 0, 1, total))
            root[:] = np.where(total == 0, 0, 1 / length)
            np.divide(rows, length, out=normal)
            for factor in times:
                normal *= factor

    each(task, len(parts), x.size)
    return out, (x, roots, sizes, factor, factors)


@unit_times.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array | None]:
    # Of y = x / |x|: d_x = (d_y - y (d_y . y)) / |x|, with d_y = d_out factor.
    x, roots, sizes, factor, factors = saved
    d_x, dots = pages.empty(x.shape, x.dtype), pages.empty(x.shape[:-1], x.dtype)
    parts = list(by_part(as_rows(x), as_rows(d_out), as_rows(d_x), dots.reshape(-1, 1), roots, sizes, *factors))

    def task(n: int) -> None:
        rows, slope, into, dot, root, size, *times = parts[n]
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            normal = rows / size
            normal *= root
            np.vecdot(slope, normal, out=dot[:, 0])
            normal *= dot
            np.subtract(slope, normal, out=into)
            into *= root
            into /= size
            for factor in times:
                into *= factor

    each(task, len(parts), x.size)
    return {"x": d_x, "factor": None if factor is None else dots.sum(axis=(*range(dots.ndim - 2), -1)).reshape(factor.shape)}
