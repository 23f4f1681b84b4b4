"""What stands before and after the exact kernel: factors, gates and a difference, each in one pass over parts of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.rows import again
from tinyattn.kernels.tiles.threads import each
from tinyattn.ops.activation import sigmoid
from tinyattn.ops.types import Array

# Numbers of a part: it and what is made of it stay in a core's own cache.
PART = 1 << 16


def by_part(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Yields the arrays (rows, width), cut alike into parts of some rows."""
    rows, width = arrays[0].shape
    step = max(1, PART // max(1, width))
    for start in range(0, rows, step):
        yield tuple(x[start : start + step] for x in arrays)


def as_rows(x: Array) -> Array:
    """Returns (..., width) as (rows, width)."""
    return x.reshape(-1, x.shape[-1])


def times_in_numpy(x: Array, factors: Array) -> Array:
    """Returns `times_rows` by functions that have rules."""
    return x * factors


@again(times_in_numpy)
@primitive
def times_rows(x: Array, factors: Array) -> tuple[Array, Any]:
    """Returns the rows of a plain array (..., width) that is not empty, each times a factor of its own (..., 1)."""
    out = pages.empty(x.shape, x.dtype)
    parts = list(by_part(as_rows(x), as_rows(factors), as_rows(out)))

    def task(n: int) -> None:
        rows, times, into = parts[n]
        np.multiply(rows, times, out=into)

    each(task, len(parts), x.size)
    return out, (x, factors)


@times_rows.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    x, factors = saved
    d_x, d_factors = pages.empty(x.shape, x.dtype), pages.empty(factors.shape, x.dtype)
    parts = list(by_part(as_rows(x), as_rows(factors), as_rows(d_out), as_rows(d_x), as_rows(d_factors)))

    def task(n: int) -> None:
        rows, times, slope, into, of_factor = parts[n]
        np.multiply(slope, times, out=into)
        np.vecdot(slope, rows, out=of_factor[:, 0])

    each(task, len(parts), x.size)
    return {"x": d_x, "factors": d_factors}


def gated_in_numpy(x: Array, gate: Array) -> Array:
    """Returns `gated` by functions that have rules."""
    return x * sigmoid(gate)


@again(gated_in_numpy)
@primitive
def gated(x: Array, gate: Array) -> tuple[Array, Any]:
    """Returns x sigmoid(gate) of plain arrays (..., width) that are not empty; gate (..., width) or (..., 1)."""
    out, shares = pages.empty(x.shape, x.dtype), pages.empty(gate.shape, x.dtype)
    parts = list(by_part(as_rows(x), as_rows(gate), as_rows(shares), as_rows(out)))

    def task(n: int) -> None:
        rows, logits, share, product = parts[n]
        share[:] = sigmoid(logits)
        np.multiply(rows, share, out=product)

    each(task, len(parts), x.size)
    return out, (x, shares)


@gated.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    x, shares = saved
    d_x, d_gate = pages.empty(x.shape, x.dtype), pages.empty(shares.shape, x.dtype)
    parts = list(by_part(as_rows(x), as_rows(d_out), as_rows(shares), as_rows(d_x), as_rows(d_gate)))

    def task(n: int) -> None:
        rows, slope, share, into, into_gate = parts[n]
        np.multiply(slope, share, out=into)
        of_share = slope * rows if share.shape == rows.shape else np.vecdot(slope, rows)[:, None]
        np.multiply(of_share, share * (1 - share), out=into_gate)

    each(task, len(parts), x.size)
    return {"x": d_x, "gate": d_gate}


def difference_in_numpy(b: Array, factor: Any, a: Array) -> Array:
    """Returns `difference` by functions that have rules."""
    return a - factor * b


@again(difference_in_numpy)
@primitive
def difference(b: Array, factor: Any, a: Array) -> tuple[Array, Any]:
    """Returns a - factor b of plain arrays (..., heads, length, width) that are not empty; factor a number, () or (heads, 1, 1).

    The walk back visits what comes first here first: the gradient of b, an array of its own, is then gone before that of a, which is
    the one that came, is walked.
    """
    out = pages.empty(a.shape, a.dtype)
    factors = np.broadcast_to(np.asarray(factor, a.dtype), (*a.shape[:-1], 1))
    parts = list(by_part(as_rows(a), as_rows(b), as_rows(factors), as_rows(out)))

    def task(n: int) -> None:
        first, second, times, into = parts[n]
        np.multiply(second, times, out=into)
        np.subtract(first, into, out=into)

    each(task, len(parts), a.size)
    return out, (b, factor, factors)


@difference.backward
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    b, factor, factors = saved
    d_b, dots = pages.empty(b.shape, b.dtype), pages.empty(b.shape[:-1], b.dtype)
    parts = list(by_part(as_rows(d_out), as_rows(b), as_rows(factors), as_rows(d_b), dots.reshape(-1, 1)))

    def task(n: int) -> None:
        slope, second, times, into, dot = parts[n]
        np.multiply(slope, -times, out=into)
        np.vecdot(slope, second, out=dot[:, 0])

    each(task, len(parts), b.size)
    gradients = {"a": d_out, "b": d_b}
    if isinstance(factor, np.ndarray):
        heads = -dots.sum(axis=(*range(dots.ndim - 2), -1))
        gradients["factor"] = heads.reshape(factor.shape) if factor.ndim else heads.sum().reshape(())
    return gradients
