"""Rules of products."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.table import rule


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
        # One product over all rows, instead of one per leading index and their sum.
        rows = math.prod(a.shape[:-1])
        return lambda g: np.swapaxes(a.reshape(rows, shape[0]), 0, 1) @ g.reshape(rows, shape[1])
    return lambda g: np.swapaxes(a, -1, -2) @ g


rule(np.matmul, _left, _right)
rule(np.linalg.matmul, lambda x1, x2: _left(x1, x2),
                       lambda x1, x2: _right(x1, x2))
rule(np.vecdot, lambda b, axis=-1: lambda g: np.expand_dims(g, axis) * b,
                lambda a, axis=-1: lambda g: np.expand_dims(g, axis) * a)
rule(np.linalg.vecdot, lambda x2, axis=-1: lambda g: np.expand_dims(g, axis) * x2,
                       lambda x1, axis=-1: lambda g: np.expand_dims(g, axis) * x1)


def split_axes(a: Any, b: Any, axes: Any) -> tuple[list[int], list[int], list[int], list[int]]:
    """Returns the axes of a and of b that tensordot sums over, then the axes of each that remain."""
    if np.ndim(axes) == 0:
        axes = range(np.ndim(a) - int(axes), np.ndim(a)), range(int(axes))
    summed_a, summed_b = ([int(x) % np.ndim(array) for x in np.atleast_1d(part)] for array, part in zip((a, b), axes, strict=True))
    return (summed_a, summed_b, [x for x in range(np.ndim(a)) if x not in summed_a],
            [x for x in range(np.ndim(b)) if x not in summed_b])


def _tensordot_left(a: Any, b: Any, axes: Any = 2) -> Callable[[Any], Any]:
    summed_a, summed_b, free_a, free_b = split_axes(a, b, axes)
    ends = list(range(len(free_a), len(free_a) + len(free_b)))
    # The product below has the free axes of a, then the axes that b was summed over, in b's order.
    order = free_a + [summed_a[summed_b.index(x)] for x in sorted(summed_b)]
    return lambda g: np.transpose(np.tensordot(g, b, (ends, free_b)), np.argsort(order))


def _tensordot_right(a: Any, b: Any, axes: Any = 2) -> Callable[[Any], Any]:
    summed_a, summed_b, free_a, free_b = split_axes(a, b, axes)
    order = [summed_b[summed_a.index(x)] for x in sorted(summed_a)] + free_b
    return lambda g: np.transpose(np.tensordot(a, g, (free_a, list(range(len(free_a))))), np.argsort(order))


def dot_axes(a: Any, b: Any, b_axis: int) -> Any:
    """Returns the axes that a product sums over: the last one of a and one of b, none if either is a number."""
    return ((-1,), (max(b_axis, -np.ndim(b)),)) if np.ndim(a) and np.ndim(b) else 0


rule(np.tensordot, _tensordot_left, _tensordot_right)
rule(np.linalg.tensordot, lambda x1, x2, axes=2: _tensordot_left(x1, x2, axes),
                          lambda x1, x2, axes=2: _tensordot_right(x1, x2, axes))
rule(np.dot, lambda a, b: _tensordot_left(a, b, dot_axes(a, b, -2)),
             lambda a, b: _tensordot_right(a, b, dot_axes(a, b, -2)), like=lambda a, b, out=None: None)
rule(np.inner, lambda a, b: _tensordot_left(a, b, dot_axes(a, b, -1)),
               lambda a, b: _tensordot_right(a, b, dot_axes(a, b, -1)), like=lambda a, b, /: None)
rule(np.vdot, body=lambda a, b: np.sum(a.reshape(-1) * b.reshape(-1)), arrays="a b", like=lambda a, b, /: None)
rule(np.outer, body=lambda a, b: a.reshape(-1, 1) * b.reshape(1, -1), arrays="a b")
rule(np.linalg.outer, body=lambda x1, x2: x1.reshape(-1, 1) * x2.reshape(1, -1), arrays="x1 x2")
if hasattr(np, "matvec"):  # from NumPy 2.2 on
    rule(np.matvec, body=lambda a, b: (a @ np.expand_dims(b, -1))[..., 0], arrays="a b")
    rule(np.vecmat, body=lambda a, b: (np.expand_dims(a, -2) @ b)[..., 0, :], arrays="a b")


def _cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    flat = a.shape[-1] == b.shape[-1] == 2
    (a0, a1, a2), (b0, b1, b2) = ((x[..., 0], x[..., 1], x[..., 2] if x.shape[-1] == 3 else 0.0) for x in (a, b))
    last = a0 * b1 - a1 * b0
    return last if flat else np.stack((a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, last), axis=axisc)


def _kron(a: Any, b: Any) -> Any:
    ndim = max(a.ndim, b.ndim)
    a, b = a.reshape((1,) * (ndim - a.ndim) + a.shape), b.reshape((1,) * (ndim - b.ndim) + b.shape)
    pairs = np.expand_dims(a, tuple(range(1, 2 * ndim, 2))) * np.expand_dims(b, tuple(range(0, 2 * ndim, 2)))
    return pairs.reshape(tuple(x * y for x, y in zip(a.shape, b.shape, strict=True)))


rule(np.cross, body=_cross, arrays="a b")
rule(np.linalg.cross, body=lambda x1, x2, axis=-1: _cross(x1, x2, axis=axis), arrays="x1 x2")
rule(np.kron, body=_kron, arrays="a b")
