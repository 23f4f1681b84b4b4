"""Rules of functions that solve with a matrix or factor it, and of norms."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.rules_reduce import axes_of, chosen, unfold
from tinyattn.engine.table import rule


def transposed(a: Any) -> Any:
    """Returns a stack of matrices with each of them transposed."""
    return np.swapaxes(a, -1, -2)


def _solve_right(a: Any, b: Any) -> Callable[[Any], Any]:
    if b.ndim == 1:  # one vector, for every matrix
        return lambda g: np.linalg.solve(transposed(a), np.expand_dims(g, -1))[..., 0]
    return lambda g: np.linalg.solve(transposed(a), g)


def _solve_matrix(result: Any, a: Any, b: Any) -> Callable[[Any], Any]:
    right = _solve_right(a, b)
    if b.ndim == 1:
        return lambda g: -(np.expand_dims(right(g), -1) * np.expand_dims(result, -2))
    return lambda g: -(right(g) @ transposed(result))


rule(np.linalg.solve, _solve_matrix, _solve_right)
rule(np.linalg.inv, lambda result: lambda g: -(transposed(result) @ g @ transposed(result)))


def cofactors(a: Any) -> Any:
    """Returns the cofactors of a matrix: signed determinants of it without one row and one column."""
    size = np.arange(a.shape[-1])
    others = np.stack([size[size != i] for i in size])
    rows = [np.linalg.det(a[..., others[i, :, None], others[:, None, :]]) * (-1.0) ** (i + size) for i in size]
    return np.stack(rows, axis=-2)


def _det(result: Any, a: Any) -> Callable[[Any], Any]:
    def pull(g: Any) -> Any:
        if np.any(np.equal(result, 0)):  # a singular matrix has no inverse, but its determinant has a gradient
            return np.expand_dims(g, (-1, -2)) * cofactors(a)
        return np.expand_dims(g * result, (-1, -2)) * transposed(np.linalg.inv(a))
    return pull


rule(np.linalg.det, _det)
# The sign is constant wherever there is a gradient.
rule(np.linalg.slogdet, lambda a: lambda gs: None if gs[1] is None else np.expand_dims(gs[1], (-1, -2)) * transposed(np.linalg.inv(a)))


def _cholesky(result: Any, upper: bool = False) -> Callable[[Any], Any]:
    def pull(g: Any) -> Any:
        lower, g = (transposed(result), transposed(g)) if upper else (result, g)
        inverse, half_diagonal = np.linalg.inv(lower), 1.0 - 0.5 * np.eye(lower.shape[-1], dtype=lower.dtype)
        inner = np.tril(transposed(lower) @ np.tril(g)) * half_diagonal
        both = transposed(inverse) @ inner @ inverse
        # NumPy reads one triangle alone; the other has no gradient.
        read = np.tril(both + transposed(both)) * half_diagonal
        return transposed(read) if upper else read
    return pull


rule(np.linalg.cholesky, _cholesky)


def norm_pull(result: Any, x: Any, ord: Any, axis: Any, *, matrix: bool) -> Callable[[Any], Any]:
    """Returns the pullback of the norm of vectors, which may lie along several axes together, or of matrices."""
    axes, power = axes_of(axis, x.ndim), 2 if ord is None else ord
    if matrix and power not in (1, -1, np.inf, -np.inf):
        raise TypeError(f"np.linalg.norm has no gradient for matrices with ord={ord!r}, which needs singular values")
    if not isinstance(power, (int, float, np.integer, np.floating)) or power == 0:
        raise TypeError(f"np.linalg.norm has no gradient with ord={ord!r}")

    def pull(g: Any) -> Any:
        g, norm = unfold(g, x.shape, axis), unfold(result, x.shape, axis)
        if matrix or abs(power) == np.inf:
            # The largest or smallest sum of absolute values along one axis; for vectors, the largest or smallest absolute value.
            summed = () if not matrix else axes[:1] if abs(power) == 1 else axes[1:]
            return g * np.sign(x) * chosen(np.sum(np.abs(x), axis=summed, keepdims=True), norm, axes)
        safe = np.where(np.equal(norm, 0), 1.0, norm)  # the gradient at 0 is 0
        return g * x / safe if power == 2 else g * np.sign(x) * (np.abs(x) / safe) ** (power - 1)
    return pull


def _norm(result: Any, x: Any, ord: Any = None, axis: Any = None) -> Callable[[Any], Any]:
    matrix = len(axes_of(axis, x.ndim)) == 2
    if ord is None or (ord == "fro" and matrix):
        ord, matrix = None, False
    return norm_pull(result, x, ord, axis, matrix=matrix)


rule(np.linalg.norm, _norm)
rule(np.linalg.vector_norm, lambda result, x, axis=None, ord=2:
     norm_pull(result, x, ord, axis, matrix=False))
