"""Derivatives of selections: what was not chosen has none, what was chosen twice has both."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.table import composed, constant, refused, rule


def along(index: Any, axis: int, ndim: int) -> tuple[Any, ...]:
    """Returns the index tuple that picks what take_along_axis picks."""
    grid = list(np.indices(index.shape, sparse=True))
    grid[axis % ndim] = index
    return tuple(grid)


@composed(np.take_along_axis)
def _take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    if axis is None:
        return arr.reshape(-1)[indices]
    shape = tuple(n if i == axis % arr.ndim else np.broadcast_shapes((n,), (arr.shape[i],))[0]
                  for i, n in enumerate(indices.shape))
    return np.broadcast_to(arr, tuple(arr.shape[i] if i == axis % arr.ndim else n for i, n in enumerate(shape)))[
        along(np.broadcast_to(indices, shape), axis, arr.ndim)]


@composed(np.take)
def _take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    a, axis = (a.reshape(-1), 0) if axis is None else (a, axis % a.ndim)
    indices = np.asarray(indices, np.intp)
    if mode != "raise":
        indices = indices % a.shape[axis] if mode == "wrap" else np.clip(indices, 0, a.shape[axis] - 1)
    return a[(*(slice(None),) * axis, indices)]


def _sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    return _sort_either_way(a, axis)


def _sort_either_way(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None,
                     descending: Any = np._NoValue) -> Any:
    if axis is None:
        a, axis = a.reshape(-1), 0
    if not a.ndim:
        return np.positive(a)
    falling = descending is not np._NoValue and descending
    way: dict[str, Any] = {"stable": True, "descending": True} if falling else {"kind": "stable"}
    return _take_along_axis(a, np.argsort(a, axis=axis, **way), axis)


# NumPy knows `descending` from 2.5 on, and a row has the parameters of NumPy's function.
composed(np.sort)(_sort_either_way if "descending" in inspect.signature(np.sort).parameters else _sort)


@composed(np.compress, arrays="a")
def _compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Any:
    return np.take(a, np.flatnonzero(condition), axis)


composed(np.extract, arrays="arr")(lambda condition, arr: arr.reshape(-1)[np.flatnonzero(condition)])


def _diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    moved = np.moveaxis(a, (axis1, axis2), (-2, -1))
    rows, columns = moved.shape[-2:]
    length = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    steps = np.arange(length)
    return moved[..., steps + max(-offset, 0), steps + max(offset, 0)]


composed(np.diagonal)(_diagonal)
composed(np.linalg.diagonal)(lambda x, /, *, offset=0: _diagonal(x, offset, -2, -1))
composed(np.trace)(lambda a, offset=0, axis1=0, axis2=1, dtype=None, out=None: np.sum(
    _diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype))
composed(np.linalg.trace)(lambda x, /, *, offset=0, dtype=None: np.sum(
    _diagonal(x, offset, -2, -1), axis=-1, dtype=dtype))


@composed(np.diag)
def _diag(v: Any, k: int = 0) -> Any:
    if v.ndim == 2:
        return _diagonal(v, k)
    if not v.size:
        return np.zeros((abs(k), abs(k)), v.dtype)
    numbers = np.diag(np.arange(1, v.size + 1), k)
    return np.where(numbers > 0, v[np.maximum(numbers - 1, 0)], 0.0)


def _tri(part: Any) -> Callable[..., Callable[[Any], Any]]:
    return lambda m, k=0: lambda g: part(g, k)


@composed(np.select, arrays="default", sequences="choicelist")
def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    chosen = default
    for condition, choice in zip(reversed(list(condlist)), reversed(choicelist), strict=True):
        chosen = np.where(condition, choice, chosen)
    return chosen


rule(np.tril, _tri(np.tril))
rule(np.triu, _tri(np.triu))
composed(np.lib.stride_tricks.sliding_window_view)(
    lambda x, window_shape, axis=None, *, subok=False, writeable=False: x.reshape(-1)[
        np.lib.stride_tricks.sliding_window_view(np.arange(x.size).reshape(x.shape), window_shape, axis)])
constant("indices", np.argsort, np.argpartition, np.searchsorted, np.nonzero, np.flatnonzero, np.argwhere,
         np.digitize, np.lexsort, np.isin, np.histogram_bin_edges,
         *(getattr(np, name) for name in ("in1d",) if hasattr(np, name)))  # gone from NumPy 2.4 on
refused("it writes into its argument; build the result with np.where or np.concatenate, or write to a copy of .value",
        np.copyto, np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal)
