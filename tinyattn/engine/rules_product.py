"""Derivatives of products."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.table import composed, rule


def _left(a: Any, b: Any) -> Callable[[Any], Any]:
    if b.ndim == 1:
        return lambda g: np.expand_dims(g, -1) * b if a.ndim > 1 else g * b
    if a.ndim == 1:
        return lambda g: np.sum(np.expand_dims(g, -2) * b, axis=-1)
    return lambda g: g @ np.swapaxes(b, -1, -2)


def _right(a: Any, b: Any) -> Callable[[Any], Any]:
    shape = b.shape
    if b.ndim == 1:
        return lambda g: np.expand_dims(g, -1) * a if a.ndim > 1 else g * a
    if a.ndim == 1:
        return lambda g: np.expand_dims(a, -1) * np.expand_dims(g, -2)
    if b.ndim == 2:
        # One product over all rows, not one a leading index and a sum of them.
        rows = math.prod(a.shape[:-1])
        return lambda g: np.swapaxes(a.reshape(rows, shape[0]), 0, 1) @ g.reshape(rows, shape[1])
    return lambda g: np.swapaxes(a, -1, -2) @ g


rule(np.matmul, _left, _right)
rule(np.vecdot, lambda a, b, axis=-1: lambda g: np.expand_dims(g, axis) * b,
                lambda a, b, axis=-1: lambda g: np.expand_dims(g, axis) * a, arrays="a b")


@composed(np.tensordot, arrays="a b")
def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    if np.ndim(axes) == 0 and not isinstance(axes, (list, tuple)):
        first, second = list(range(a.ndim - int(axes), a.ndim)), list(range(int(axes)))
    else:
        first, second = [[int(x)] if np.ndim(x) == 0 else [int(y) for y in x] for x in axes]
    first, second = [x % a.ndim for x in first], [x % b.ndim for x in second]
    rest_a, rest_b = [x for x in range(a.ndim) if x not in first], [x for x in range(b.ndim) if x not in second]
    width = math.prod(a.shape[x] for x in first)
    shape_a, shape_b = [a.shape[x] for x in rest_a], [b.shape[x] for x in rest_b]
    rows = np.transpose(a, rest_a + first).reshape(math.prod(shape_a), width)
    columns = np.transpose(b, second + rest_b).reshape(width, math.prod(shape_b))
    return (rows @ columns).reshape((*shape_a, *shape_b))


@composed(np.dot, arrays="a b")
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    return _tensordot(a, b, ((a.ndim - 1,), (max(b.ndim - 2, 0),)))


@composed(np.inner, arrays="a b")
def _inner(a: Any, b: Any, /) -> Any:
    return a * b if not a.ndim or not b.ndim else _tensordot(a, b, ((-1,), (-1,)))


def _outer(x1: Any, x2: Any, /) -> Any:
    return x1.reshape(-1, 1) * x2.reshape(1, -1)


composed(np.vdot, arrays="a b")(lambda a, b, /: np.sum(a.reshape(-1) * b.reshape(-1)))
composed(np.outer, arrays="a b")(lambda a, b, out=None: _outer(a, b))
composed(np.linalg.outer, arrays="x1 x2")(_outer)
composed(np.linalg.matmul, arrays="x1 x2")(lambda x1, x2, /: x1 @ x2)
composed(np.linalg.vecdot, arrays="x1 x2")(lambda x1, x2, /, *, axis=-1: np.sum(
    np.moveaxis(x1, axis, -1) * np.moveaxis(x2, axis, -1), axis=-1))
composed(np.linalg.tensordot, arrays="x1 x2")(lambda x1, x2, /, *, axes=2: _tensordot(x1, x2, axes))
composed(np.linalg.matrix_transpose)(lambda x, /: np.swapaxes(x, -1, -2))
if hasattr(np, "matvec"):
    composed(np.matvec, arrays="a b")(lambda a, b: (a @ np.expand_dims(b, -1))[..., 0])
    composed(np.vecmat, arrays="a b")(lambda a, b: (np.expand_dims(a, -2) @ b)[..., 0, :])


def _cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    flat = a.shape[-1] == b.shape[-1] == 2
    (a0, a1, a2), (b0, b1, b2) = ((x[..., 0], x[..., 1], x[..., 2] if x.shape[-1] == 3 else 0.0) for x in (a, b))
    last = a0 * b1 - a1 * b0
    return last if flat else np.stack((a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, last), axis=axisc)


composed(np.cross, arrays="a b")(_cross)
composed(np.linalg.cross, arrays="x1 x2")(lambda x1, x2, /, *, axis=-1: _cross(x1, x2, axis=axis))


@composed(np.kron, arrays="a b")
def _kron(a: Any, b: Any) -> Any:
    ndim = max(a.ndim, b.ndim)
    a, b = a.reshape((1,) * (ndim - a.ndim) + a.shape), b.reshape((1,) * (ndim - b.ndim) + b.shape)
    pairs = np.expand_dims(a, tuple(range(1, 2 * ndim, 2))) * np.expand_dims(b, tuple(range(0, 2 * ndim, 2)))
    return pairs.reshape(tuple(x * y for x, y in zip(a.shape, b.shape, strict=True)))
