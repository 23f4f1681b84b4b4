"""Derivatives of functions that fold an axis."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.table import composed, constant, rule


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Returns the folded axes, counted from the front."""
    if type(axis) is int:
        return (axis % ndim,)
    if axis is None:
        return tuple(range(ndim))
    return tuple(int(a) % ndim for a in (axis if isinstance(axis, (tuple, list)) else (axis,)))


def unfold(folded: Any, shape: tuple[int, ...], axis: Any) -> Any:
    """Returns a reduction's result or gradient with its folded axes back as 1."""
    if folded.ndim == len(shape):  # keepdims left them
        return folded
    axes = axes_of(axis, len(shape))
    return folded.reshape([1 if a in axes else size for a, size in enumerate(shape)])


def count_of(shape: tuple[int, ...], axis: Any) -> int:
    """Returns how many numbers are folded into one."""
    return math.prod(shape) if axis is None else math.prod([shape[a] for a in axes_of(axis, len(shape))])


def _sum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, initial: Any = None,
         where: Any = True) -> Callable[[Any], Any]:
    shape = a.shape
    return lambda g: np.broadcast_to(unfold(g, shape, axis), shape)


def _extreme(result: Any, a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = None,
             where: Any = True) -> Callable[[Any], Any]:
    def pull(g: Any) -> Any:
        peak = unfold(result, a.shape, axis)
        chosen = np.equal(a, peak)
        if np.isnan(peak).any():
            chosen = chosen | (np.isnan(a) & np.isnan(peak))
        # Counted in integers: float16 overflows at 65,520 ties.
        ties = chosen.sum(axis=axes_of(axis, a.ndim), keepdims=True)
        return chosen * (unfold(g, a.shape, axis) / np.maximum(ties, 1).astype(g.dtype))
    return pull


def _mean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, *,
          where: Any = True) -> Callable[[Any], Any]:
    shape, share = a.shape, 1.0 / max(count_of(a.shape, axis), 1)
    return lambda g: np.broadcast_to(unfold(g, shape, axis) * share, shape)


def freedom(shape: tuple[int, ...], axis: Any, ddof: Any, correction: Any) -> float:
    """Returns what a variance divides by; NaN where nothing is left, so that the gradient says so too."""
    left = count_of(shape, axis) - (ddof if correction is None else correction)
    return left if left > 0 else np.nan


def _var(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0, keepdims: bool = False, *,
         where: Any = True, mean: Any = None, correction: Any = None) -> Callable[[Any], Any]:
    scale = 2.0 / freedom(a.shape, axis, ddof, correction)
    return lambda g: unfold(g, a.shape, axis) * scale * centred(a, axis, dtype)


def _std(result: Any, a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: Any = 0,
         keepdims: bool = False, *, where: Any = True, mean: Any = None, correction: Any = None) -> Callable[[Any], Any]:
    scale = 1.0 / freedom(a.shape, axis, ddof, correction)

    def pull(g: Any) -> Any:
        spread = unfold(result, a.shape, axis)
        still = np.equal(spread, 0)
        slope = np.where(still, 0.0, unfold(g, a.shape, axis)) / np.where(still, 1.0, spread)
        return slope * scale * centred(a, axis, dtype)
    return pull


def centred(a: Any, axis: Any, dtype: Any) -> Any:
    """Returns a minus its mean."""
    a = a if dtype is None or np.dtype(dtype).itemsize == 2 else a.astype(dtype)
    return a - np.mean(a, axis=axis, keepdims=True)


rule(np.sum, _sum, arrays="a")
rule(np.mean, _mean, arrays="a")
rule(np.var, _var, arrays="a")
rule(np.std, _std, arrays="a")
for _function in {np.max, np.min, np.amax, np.amin}:
    rule(_function, _extreme, arrays="a")


@composed(np.average, arrays="a weights", honours="returned")
def _average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    if weights is None:
        weights = np.ones(a.shape)
    elif weights.shape != a.shape:
        axes = axes_of(axis, a.ndim)
        weights = unfold(np.transpose(weights, np.argsort(axes)), a.shape, tuple(set(range(a.ndim)) - set(axes)))
    total = np.sum(weights, axis=axis, keepdims=keepdims)
    mean = np.sum(a * weights, axis=axis, keepdims=keepdims) / total
    return (mean, total) if returned else mean


def safe_sqrt(x: Any) -> Any:
    """Returns the square root, with gradient 0 (not inf) at 0."""
    zero = np.equal(x, 0)
    return np.where(zero, 0.0, np.sqrt(np.where(zero, 1.0, x)))


@composed(np.ptp)
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@composed(np.nansum)
def _nansum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, initial: Any = None,
            where: Any = True) -> Any:
    return np.sum(np.where(np.isnan(a), 0.0, a), axis=axis, keepdims=keepdims)


@composed(np.nanmean)
def _nanmean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, *,
             where: Any = True) -> Any:
    count = np.sum(np.logical_not(np.isnan(a)), axis=axis, keepdims=keepdims)
    return _nansum(a, axis, keepdims=keepdims) / count.astype(a.dtype)


def lines(a: Any, axis: Any) -> Any:
    """Returns an array with the folded axes as one, at the end."""
    axes = axes_of(axis, a.ndim)
    rest = tuple(i for i in range(a.ndim) if i not in axes)
    return np.transpose(a, rest + axes).reshape((*(a.shape[i] for i in rest), count_of(a.shape, axis)))


@composed(np.prod)
def _prod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, initial: Any = None,
          where: Any = True) -> Any:
    rows = lines(a if dtype is None else a.astype(dtype), axis)
    while rows.shape[-1] > 1:  # halves, so that a zero is multiplied, never divided by
        half = rows.shape[-1] // 2
        paired = rows[..., :half] * rows[..., half : 2 * half]
        rows = np.concatenate((paired, rows[..., 2 * half :]), axis=-1) if rows.shape[-1] % 2 else paired
    folded = rows[..., 0] if rows.shape[-1] else np.sum(rows, axis=-1) + 1.0
    return unfold(folded, a.shape, axis) if keepdims else folded


@composed(np.median)
def _median(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    rows = np.sort(lines(a, axis), axis=-1)
    length = rows.shape[-1]
    middle = (rows[..., (length - 1) // 2] + rows[..., length // 2]) * 0.5 if length else np.sum(rows, axis=-1)
    return unfold(middle, a.shape, axis) if keepdims else middle


constant("not a floating number", np.any, np.all, np.count_nonzero, np.argmax, np.argmin, np.nanargmax, np.nanargmin)
