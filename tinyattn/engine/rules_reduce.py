"""Rules of reductions: functions that reduce all numbers along one or several axes to one number."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.table import constant, rule


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Returns the reduced axes, counted from the front."""
    if type(axis) is int:
        return (axis % ndim,)
    if axis is None:
        return tuple(range(ndim))
    return tuple(int(a) % ndim for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))


def unfold(reduced: Any, shape: tuple[int, ...], axis: Any) -> Any:
    """Returns the result of a reduction, or its gradient, with the reduced axes kept as axes of length 1."""
    if reduced.ndim == len(shape):  # keepdims left them
        return reduced
    axes = axes_of(axis, len(shape))
    return reduced.reshape([1 if a in axes else size for a, size in enumerate(shape)])


def count_of(shape: tuple[int, ...], axis: Any) -> int:
    """Returns how many numbers are reduced to one."""
    return math.prod(shape) if axis is None else math.prod([shape[a] for a in axes_of(axis, len(shape))])


def _sum(a: Any, axis: Any = None) -> Callable[[Any], Any]:
    shape = a.shape
    return lambda g: np.broadcast_to(unfold(g, shape, axis), shape)


def chosen(a: Any, peak: Any, axes: tuple[int, ...]) -> Any:
    """Returns the weight of each number in the largest or smallest one: numbers that are equal share it evenly."""
    ours = np.equal(a, peak)
    if np.isnan(peak).any():
        ours = ours | (np.isnan(a) & np.isnan(peak))
    # Counted in integers: float16 overflows at 65,520 numbers that are equal.
    return ours / np.maximum(ours.sum(axis=axes, keepdims=True), 1).astype(a.dtype)


def _extreme(result: Any, a: Any, axis: Any = None) -> Callable[[Any], Any]:
    return lambda g: unfold(g, a.shape, axis) * chosen(a, unfold(result, a.shape, axis), axes_of(axis, a.ndim))


def _mean(a: Any, axis: Any = None) -> Callable[[Any], Any]:
    shape, scale = a.shape, 1.0 / max(count_of(a.shape, axis), 1)
    return lambda g: np.broadcast_to(unfold(g, shape, axis) * scale, shape)


def _var(a: Any, axis: Any = None, dtype: Any = None, ddof: Any = 0, correction: Any = np._NoValue) -> Callable[[Any], Any]:
    left = count_of(a.shape, axis) - (ddof if correction is np._NoValue else correction)
    # Without degrees of freedom the variance is NaN, and so is its gradient.
    scale = 2.0 / left if left > 0 else np.nan
    exact = a if dtype is None or np.dtype(dtype).itemsize == 2 else a.astype(dtype)
    return lambda g: unfold(g, a.shape, axis) * scale * (exact - np.mean(exact, axis=axis, keepdims=True))


def _std(result: Any, a: Any, axis: Any = None, dtype: Any = None, ddof: Any = 0,
         correction: Any = np._NoValue) -> Callable[[Any], Any]:
    of_variance = _var(a, axis, dtype, ddof, correction)
    zero = np.equal(result, 0)  # there the gradient is 0
    return lambda g: of_variance(np.where(zero, 0.0, g) / np.where(zero, 1.0, 2.0 * result))


rule(np.sum, _sum)
rule(np.mean, _mean)
rule(np.var, _var)
rule(np.std, _std)
for _function in {np.max, np.min, np.amax, np.amin}:
    rule(_function, _extreme)


def _average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, keepdims: bool = False) -> Any:
    if weights is None:
        weights = np.ones(a.shape)
    elif weights.shape != a.shape:
        axes = axes_of(axis, a.ndim)
        weights = unfold(np.transpose(weights, np.argsort(axes)), a.shape, tuple(set(range(a.ndim)) - set(axes)))
    total = np.sum(weights, axis=axis, keepdims=keepdims)
    mean = np.sum(a * weights, axis=axis, keepdims=keepdims) / total
    return (mean, total) if returned else mean


def _nansum(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.sum(np.where(np.isnan(a), 0.0, a), axis=axis, keepdims=keepdims)


def _nanmean(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    count = np.sum(np.logical_not(np.isnan(a)), axis=axis, keepdims=keepdims)
    return _nansum(a, axis, keepdims=keepdims) / count.astype(a.dtype)


def rows_of(a: Any, axis: Any) -> Any:
    """Returns an array with its reduced axes as one, at the end."""
    axes = axes_of(axis, a.ndim)
    rest = tuple(i for i in range(a.ndim) if i not in axes)
    return np.transpose(a, rest + axes).reshape((*(a.shape[i] for i in rest), count_of(a.shape, axis)))


def _prod(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    rows = rows_of(a if dtype is None else a.astype(dtype), axis)
    while rows.shape[-1] > 1:  # by halves: only products, so that no number is divided by a zero
        half = rows.shape[-1] // 2
        paired = rows[..., :half] * rows[..., half : 2 * half]
        rows = np.concatenate((paired, rows[..., 2 * half :]), axis=-1) if rows.shape[-1] % 2 else paired
    product = rows[..., 0] if rows.shape[-1] else np.sum(rows, axis=-1) + 1.0
    return unfold(product, a.shape, axis) if keepdims else product


def _median(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    rows = np.sort(rows_of(a, axis), axis=-1)
    length = rows.shape[-1]
    middle = (rows[..., (length - 1) // 2] + rows[..., length // 2]) * 0.5 if length else np.sum(rows, axis=-1)
    return unfold(middle, a.shape, axis) if keepdims else middle


rule(np.average, body=_average, arrays="a weights", honours="returned")
rule(np.ptp, body=lambda a, axis=None, keepdims=False:
     np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims))
rule(np.nansum, body=_nansum)
rule(np.nanmean, body=_nanmean)
rule(np.prod, body=_prod)
rule(np.median, body=_median)
constant("not a floating number", np.any, np.all, np.count_nonzero, np.argmax, np.argmin, np.nanargmax, np.nanargmin)
