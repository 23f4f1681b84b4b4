"""Rules of functions that run along an axis: cumulative sums and products, differences, convolutions."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.table import rule


def _cumsum(a: Any, axis: Any = None) -> Callable[[Any], Any]:
    shape = a.shape

    def pull(g: Any) -> Any:
        if axis is None or not shape:
            return np.flip(np.cumsum(np.flip(g.reshape(-1)))).reshape(shape)
        return np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis)
    return pull


def _cumprod(a: Any, axis: Any = None, dtype: Any = None) -> Any:
    a = a if dtype is None else a.astype(dtype)
    if axis is None or not a.ndim:
        a, axis = a.reshape(-1), 0
    a = np.moveaxis(a, axis, -1)
    step = 1
    while step < a.shape[-1]:  # by doubling: after it, entry n is the product of the last 2 * step entries up to n
        a = np.concatenate((a[..., :step], a[..., step:] * a[..., :-step]), axis=-1)
        step *= 2
    return np.moveaxis(a, -1, axis)


rule(np.cumsum, _cumsum)
rule(np.cumprod, body=_cumprod)


def _cumulative(run: Callable[..., Any], neutral: float) -> Callable[..., Any]:
    def body(x: Any, axis: Any = None, dtype: Any = None, include_initial: bool = False) -> Any:
        axis = (0 if axis is None else axis) % max(x.ndim, 1)
        so_far = run(x.reshape(-1) if not x.ndim else x, axis, dtype)
        if not include_initial:
            return so_far
        first = np.full((*so_far.shape[:axis], 1, *so_far.shape[axis + 1 :]), neutral, so_far.dtype)
        return np.concatenate((first, so_far), axis=axis)
    return body


if hasattr(np, "cumulative_sum"):  # from NumPy 2.1 on
    rule(np.cumulative_sum, body=_cumulative(np.cumsum, 0.0))
    rule(np.cumulative_prod, body=_cumulative(_cumprod, 1.0))


def _diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    axis = axis % a.ndim
    edge = (*a.shape[:axis], 1, *a.shape[axis + 1 :])
    parts = [np.broadcast_to(part, edge) if part.ndim == 0 else part for part in (prepend, a, append) if part is not None]
    a = np.moveaxis(np.concatenate(parts, axis=axis) if len(parts) > 1 else a, axis, -1) if n else a
    for _ in range(n):
        a = a[..., 1:] - a[..., :-1]
    return np.moveaxis(a, -1, axis) if n else np.positive(a)


def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    a, v = a.reshape(-1), v.reshape(-1)
    long, short = (a, v) if a.size >= v.size else (v, a)
    edge = np.zeros(short.size - 1, long.dtype)
    padded = np.concatenate((edge, long, edge))
    full = np.lib.stride_tricks.sliding_window_view(padded, short.size) @ short[::-1]
    cut = {"full": 0, "same": (short.size - 1) // 2, "valid": short.size - 1}[mode]
    length = {"full": full.size, "same": long.size, "valid": long.size - short.size + 1}[mode]
    return full[cut : cut + length]


rule(np.diff, body=_diff, arrays="a prepend append")
rule(np.convolve, body=_convolve, arrays="a v")
