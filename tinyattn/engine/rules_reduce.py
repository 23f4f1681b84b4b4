"""Derivatives of functions that fold an axis, or run along one."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.table import composed, constant, rule


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Returns the folded axes, counted from the front."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def unfold(folded: Any, shape: tuple[int, ...], axis: Any) -> Any:
    """Returns a reduction's result or gradient with its folded axes back as 1."""
    axes = axes_of(axis, len(shape))
    return folded.reshape(tuple(1 if a in axes else size for a, size in enumerate(shape)))


def _sum(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Callable[[Any], Any]:
    shape = x.shape
    return lambda g: np.broadcast_to(unfold(g, shape, axis), shape)


def _extreme(out: Any, x: Any, axis: Any = None, *_: Any, keepdims: bool = False) -> Callable[[Any], Any]:
    def pull(g: Any) -> Any:
        chosen = np.equal(x, unfold(out, x.shape, axis)).astype(x.dtype)
        return chosen * unfold(g, x.shape, axis) / chosen.sum(axis=axes_of(axis, x.ndim), keepdims=True)
    return pull


def _cumsum(x: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Callable[[Any], Any]:
    shape = x.shape

    def pull(g: Any) -> Any:
        if axis is None:
            return np.flip(np.cumsum(np.flip(g.reshape(-1)))).reshape(shape)
        return np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis)
    return pull


rule(np.sum, _sum)
rule(np.max, _extreme)
rule(np.min, _extreme)
rule(np.amax, _extreme)
rule(np.amin, _extreme)
rule(np.cumsum, _cumsum)


@composed(np.mean)
def _mean(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    count = int(np.prod([x.shape[a] for a in axes_of(axis, x.ndim)]))
    return np.sum(x, axis=axis, keepdims=keepdims) * (1.0 / count)


@composed(np.average)
def _average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    if weights is None or returned:
        if returned:
            raise TypeError("np.average has no gradient with returned=True; compute the sum of weights beside it")
        return np.mean(a, axis=axis, keepdims=keepdims)
    if np.ndim(weights) == 1 and a.ndim > 1 and isinstance(axis, int):
        weights = weights.reshape(tuple(-1 if i == axis % a.ndim else 1 for i in range(a.ndim)))
    total = np.sum(weights * np.ones_like(getattr(a, "_value", a)), axis=axis, keepdims=keepdims)
    return np.sum(a * weights, axis=axis, keepdims=keepdims) / total


@composed(np.var)
def _var(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
         keepdims: bool = False) -> Any:
    count = int(np.prod([a.shape[i] for i in axes_of(axis, a.ndim)]))
    centred = a - np.mean(a, axis=axis, keepdims=True)
    return np.sum(centred * centred, axis=axis, keepdims=keepdims) * (1.0 / (count - ddof))


@composed(np.std)
def _std(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0, keepdims: bool = False) -> Any:
    return safe_sqrt(np.var(a, axis=axis, ddof=ddof, keepdims=keepdims))


def safe_sqrt(x: Any) -> Any:
    """Returns the square root, with gradient 0 (not inf) at 0."""
    zero = np.equal(x, 0)
    return np.where(zero, 0.0, np.sqrt(np.where(zero, 1.0, x)))


@composed(np.ptp)
def _ptp(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@composed(np.nansum)
def _nansum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return np.sum(np.where(np.isnan(a), 0.0, a), axis=axis, keepdims=keepdims)


@composed(np.nanmean)
def _nanmean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    count = np.sum(np.logical_not(np.isnan(a)), axis=axis, keepdims=keepdims)
    return np.nansum(a, axis=axis, keepdims=keepdims) / count.astype(a.dtype)


@composed(np.prod)
def _prod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    axes = axes_of(axis, a.ndim)
    rest = tuple(i for i in range(a.ndim) if i not in axes)
    rows = np.transpose(a, rest + axes).reshape((*(a.shape[i] for i in rest), -1))
    while rows.shape[-1] > 1:  # halves, so that a zero is multiplied, never divided by
        half = rows.shape[-1] // 2
        paired = rows[..., :half] * rows[..., half : 2 * half]
        rows = np.concatenate((paired, rows[..., 2 * half :]), axis=-1) if rows.shape[-1] % 2 else paired
    if not rows.shape[-1]:
        return np.sum(rows, axis=-1) + 1.0
    folded = rows[..., 0]
    return unfold(folded, a.shape, axes) if keepdims else folded


@composed(np.cumprod)
def _cumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    if axis is None:
        a, axis = a.reshape(-1), 0
    a = np.moveaxis(a, axis, -1)
    step = 1
    while step < a.shape[-1]:  # doubling: entry n holds the product of the last 2 * step entries up to n
        a = np.concatenate((a[..., :step], a[..., step:] * a[..., :-step]), axis=-1)
        step *= 2
    return np.moveaxis(a, -1, axis)


@composed(np.diff)
def _diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    if prepend is not None or append is not None:
        raise TypeError("np.diff has no gradient with prepend= or append=; concatenate first")
    for _ in range(n):
        moved = np.moveaxis(a, axis, -1)
        a = np.moveaxis(moved[..., 1:] - moved[..., :-1], -1, axis)
    return a


constant("not a floating number", np.any, np.all, np.count_nonzero, np.argmax, np.argmin, np.nanargmax, np.nanargmin)
