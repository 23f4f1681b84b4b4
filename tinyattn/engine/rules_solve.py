"""Derivatives of what solves or takes apart a matrix, and of norms."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.moves import solve_rows
from tinyattn.engine.rules_reduce import lines, safe_sqrt, unfold
from tinyattn.engine.table import composed, internal, rule

rule(np.linalg.inv, lambda result, a: lambda g: -(np.swapaxes(result, -1, -2) @ g @ np.swapaxes(result, -1, -2)))


def cofactors(a: Any) -> Any:
    """Returns the determinants of what is left of a matrix without one row and one column, with their signs."""
    size = np.arange(a.shape[-1])
    others = np.stack([size[size != i] for i in size])
    rows = [np.linalg.det(a[..., others[i, :, None], others[:, None, :]]) * (-1.0) ** (i + size) for i in size]
    return np.stack(rows, axis=-2)


def _det(result: Any, a: Any) -> Callable[[Any], Any]:
    def pull(g: Any) -> Any:
        if np.any(np.equal(result, 0)):  # a singular matrix has no inverse, but its determinant has a gradient
            return np.expand_dims(g, (-1, -2)) * cofactors(a)
        return np.expand_dims(g * result, (-1, -2)) * np.swapaxes(np.linalg.inv(a), -1, -2)
    return pull


rule(np.linalg.det, _det)


@composed(np.linalg.solve, arrays="a b")
def _solve(a: Any, b: Any) -> Any:
    return solve_rows(a, b) if b.ndim > 1 else solve_rows(a, np.expand_dims(b, -1))[..., 0]


@internal
def log_abs_det(a: Any) -> Any:
    """Returns the logarithm of the determinant's size."""
    return np.linalg.slogdet(a).logabsdet


rule(log_abs_det.plain, lambda a: lambda g: np.expand_dims(g, (-1, -2))  # type: ignore[attr-defined]
     * np.swapaxes(np.linalg.inv(a), -1, -2))
composed(np.linalg.slogdet)(lambda a: (None, log_abs_det(a)))


def _cholesky(result: Any, a: Any, /, *, upper: bool = False) -> Callable[[Any], Any]:
    def pull(g: Any) -> Any:
        lower, g = (np.swapaxes(result, -1, -2), np.swapaxes(g, -1, -2)) if upper else (result, g)
        inverse = np.linalg.inv(lower)
        inner = np.tril(np.swapaxes(lower, -1, -2) @ np.tril(g))
        half = inner * (1.0 - 0.5 * np.eye(inner.shape[-1], dtype=inner.dtype))
        whole = np.swapaxes(inverse, -1, -2) @ half @ inverse
        # NumPy reads one triangle alone; the other has no gradient.
        folded = np.tril(whole + np.swapaxes(whole, -1, -2)) * (1.0 - 0.5 * np.eye(inner.shape[-1], dtype=inner.dtype))
        return np.swapaxes(folded, -1, -2) if upper else folded
    return pull


rule(np.linalg.cholesky, _cholesky, arrays="a")


def vector_norm(x: Any, ord: Any, axis: Any, keepdims: bool) -> Any:
    """Returns the norm of the vectors that lie along an axis, or along several together."""
    rows = lines(x, axis)
    if ord is None or ord == 2:
        norm = safe_sqrt(np.sum(rows * rows, axis=-1))
    elif ord in (np.inf, -np.inf):
        norm = (np.max if ord > 0 else np.min)(np.abs(rows), axis=-1)
    elif ord == 1:
        norm = np.sum(np.abs(rows), axis=-1)
    elif isinstance(ord, (int, float, np.integer, np.floating)) and ord != 0:
        total = np.sum(np.abs(rows) ** ord, axis=-1)
        zero = np.equal(total, 0)
        norm = np.where(zero, 0.0, np.where(zero, 1.0, total) ** (1.0 / ord))
    else:
        raise TypeError(f"np.linalg.norm has no gradient with ord={ord!r}")
    return unfold(norm, x.shape, axis) if keepdims else norm


@composed(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    matrix = (isinstance(axis, (tuple, list)) and len(axis) == 2) or (axis is None and x.ndim == 2)
    if ord is None or (ord == "fro" and matrix):
        return vector_norm(x, 2, axis, keepdims)
    if not matrix:
        return vector_norm(x, ord, axis, keepdims)
    rows, columns = (int(a) % x.ndim for a in ((0, 1) if axis is None else axis))
    if ord not in (1, -1, np.inf, -np.inf):
        raise TypeError(f"np.linalg.norm has no gradient for matrices with ord={ord!r}, which needs singular values")
    first, second = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = np.sum(np.abs(x), axis=first, keepdims=True)
    norm = (np.max if ord > 0 else np.min)(sums, axis=second, keepdims=True)
    return norm if keepdims else np.squeeze(norm, axis=(rows, columns))


composed(np.linalg.vector_norm)(lambda x, /, *, axis=None, keepdims=False, ord=2: vector_norm(x, ord, axis, keepdims))
