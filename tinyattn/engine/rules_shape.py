"""Derivatives of functions that give elements other places."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.engine.arguments import tensors_in
from tinyattn.engine.table import composed, constant, joint, rule, several


def _reshape(x: Any, shape: Any = None, order: str = "C", **_: Any) -> Callable[[Any], Any]:
    if order != "C":
        raise TypeError(f"np.reshape has no gradient with order={order!r}; transpose first")
    old = x.shape
    return lambda g: g.reshape(old)


def _back(x: Any, *_: Any, **__: Any) -> Callable[[Any], Any]:
    old = x.shape
    return lambda g: g.reshape(old)


rule(np.reshape, _reshape)
rule(np.ravel, _reshape)
rule(np.expand_dims, lambda x, axis: _back(x))
rule(np.squeeze, lambda x, axis=None: _back(x))
rule(np.atleast_1d, lambda x: _back(x))
rule(np.atleast_2d, lambda x: _back(x))
rule(np.atleast_3d, lambda x: _back(x))
rule(np.swapaxes, lambda x, first, second: lambda g: np.swapaxes(g, first, second))
rule(np.transpose, lambda x, axes=None: lambda g: np.transpose(g, None if axes is None else np.argsort(axes)))
rule(np.matrix_transpose, lambda x: lambda g: np.swapaxes(g, -1, -2))
rule(np.moveaxis, lambda x, source, destination: lambda g: np.moveaxis(g, destination, source))
rule(np.broadcast_to, lambda x, shape, subok=False: lambda g: g)
rule(np.flip, lambda x, axis=None: lambda g: np.flip(g, axis))
rule(np.fliplr, lambda x: lambda g: np.fliplr(g))
rule(np.flipud, lambda x: lambda g: np.flipud(g))
rule(np.rot90, lambda x, k=1, axes=(0, 1): lambda g: np.rot90(g, -k, axes))
rule(np.roll, lambda x, shift, axis=None: lambda g: np.roll(
    g, tuple(-s for s in shift) if isinstance(shift, tuple) else -shift, axis))
rule(np.copy, lambda x, order="K", subok=False: lambda g: g)


@joint(np.concatenate)
def _concatenate(arrays: Sequence[Any], axis: Any = 0, **_: Any) -> Callable[[Any], Sequence[Any]]:
    shapes = [a.shape for a in arrays]
    edges = np.cumsum([0, *(int(np.prod(s)) if axis is None else s[axis] for s in shapes)])
    ours = [i for i, a in enumerate(arrays) if tensors_in([a])]

    def pull(g: Any) -> Sequence[Any]:
        if axis is None:
            return [g[edges[i] : edges[i + 1]].reshape(shapes[i]) for i in ours]
        front = (slice(None),) * (axis % g.ndim)
        return [g[(*front, slice(edges[i], edges[i + 1]))] for i in ours]
    return pull


@composed(np.stack)
def _stack(arrays: Any, axis: int = 0, **_: Any) -> Any:
    return np.concatenate([np.expand_dims(a, axis) for a in arrays], axis=axis)


@composed(np.vstack)
def _vstack(tup: Any, **_: Any) -> Any:
    return np.concatenate([np.atleast_2d(a) for a in tup], axis=0)


@composed(np.hstack)
def _hstack(tup: Any, **_: Any) -> Any:
    rows = [np.atleast_1d(a) for a in tup]
    return np.concatenate(rows, axis=0 if rows[0].ndim == 1 else 1)


@composed(np.dstack)
def _dstack(tup: Any) -> Any:
    return np.concatenate([np.atleast_3d(a) for a in tup], axis=2)


@composed(np.column_stack)
def _column_stack(tup: Any) -> Any:
    return np.concatenate([a.reshape(-1, 1) if a.ndim == 1 else a for a in tup], axis=1)


@composed(np.append)
def _append(arr: Any, values: Any, axis: Any = None) -> Any:
    return np.concatenate((arr, values), axis=axis)


@several(np.split)
@several(np.array_split)
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Callable[[list[Any]], Any]:
    shapes = [part.shape for part in np.array_split(np.empty(ary.shape, bool), indices_or_sections, axis)]
    dtype = ary.dtype
    return lambda gs: np.concatenate([np.zeros(shape, dtype) if g is None else g
                                      for g, shape in zip(gs, shapes, strict=True)], axis=axis)


composed(np.hsplit)(lambda ary, n: np.split(ary, n, axis=0 if ary.ndim == 1 else 1))
composed(np.vsplit)(lambda ary, n: np.split(ary, n, axis=0))
composed(np.dsplit)(lambda ary, n: np.split(ary, n, axis=2))


@composed(np.broadcast_arrays)
def _broadcast_arrays(*arrays: Any, subok: bool = False) -> Any:
    shape = np.broadcast_shapes(*[a.shape for a in arrays])
    return tuple(np.broadcast_to(a, shape) for a in arrays)


def moved(function: Any) -> None:
    """Adds a row for a function that only moves elements: it is asked where it moves their numbers."""
    def body(a: Any, *args: Any, **options: Any) -> Any:
        numbers = function(np.arange(a.size).reshape(a.shape), *args, **options)
        return a.reshape(-1)[numbers]

    composed(function)(body)


for _function in (np.repeat, np.tile, np.rollaxis, np.delete, np.resize, np.trim_zeros):
    if _function not in (np.trim_zeros,):
        moved(_function)


@composed(np.pad)
def _pad(array: Any, pad_width: Any, mode: Any = "constant", **options: Any) -> Any:
    if mode in ("edge", "reflect", "symmetric", "wrap") and not options:
        return array.reshape(-1)[np.pad(np.arange(array.size).reshape(array.shape), pad_width, mode=mode)]
    if mode != "constant":
        raise TypeError(f"np.pad has no gradient with mode={mode!r}; use .value there if none is needed")
    fill = np.pad(np.zeros(array.shape, array.dtype), pad_width, mode="constant", **options)
    numbers = np.pad(np.arange(1, array.size + 1).reshape(array.shape), pad_width)
    return np.where(numbers > 0, array.reshape(-1)[np.maximum(numbers - 1, 0)], fill) if array.size else fill


constant("depends on the shape alone", np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like,
         np.full_like, np.result_type, np.can_cast, np.min_scalar_type, np.common_type, np.shares_memory,
         np.may_share_memory, np.array_repr, np.array_str, np.array2string)
if hasattr(np, "unstack"):
    composed(np.unstack)(lambda x, /, *, axis=0: tuple(np.moveaxis(x, axis, 0)))
