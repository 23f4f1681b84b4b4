"""Derivatives of functions that give elements other places."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.arguments import plain, tensors_in
from tinyattn.engine.table import composed, constant, plainly, renamed, rule


def in_order(a: Any, order: Any) -> Any:
    """Returns which of C and F the order A means for an array."""
    if order != "A":
        return order
    flags = plain(a).flags
    return "F" if flags.f_contiguous and not flags.c_contiguous else "C"


def _reshape(a: Any, /, shape: Any, order: Any = "C", *, copy: Any = None) -> Callable[[Any], Any]:
    old, order = a.shape, in_order(a, order)
    if order == "C":
        return lambda g: g.reshape(old)
    return lambda g: np.reshape(g, old, order)


def _ravel(a: Any, order: Any = "C") -> Callable[[Any], Any]:
    old, order = a.shape, in_order(a, order)
    if order != "K":
        return lambda g: np.reshape(g, old, order)
    numbers = np.empty_like(plain(a), np.intp)  # it lies in memory as the array does
    numbers[...] = np.arange(numbers.size).reshape(old)
    places = np.argsort(np.ravel(numbers, "K"))
    return lambda g: g[places].reshape(old)


def _back(a: Any, axis: Any = None) -> Callable[[Any], Any]:
    old = a.shape
    return lambda g: g.reshape(old)


def _transpose(a: Any, axes: Any = None) -> Callable[[Any], Any]:
    if axes is None:
        return lambda g: g.transpose()
    ahead = [int(axis) % a.ndim for axis in axes]
    return lambda g: g.transpose([ahead.index(i) for i in range(len(ahead))])


rule(np.reshape, _reshape, honours="order copy", arrays="a")
if "newshape" in inspect.signature(np.reshape).parameters:  # up to NumPy 2.3, in 2.0 the only name
    renamed(np.reshape, "newshape", 1)
rule(np.ravel, _ravel, honours="order", arrays="a")
rule(np.expand_dims, lambda a, axis: _back(a))
rule(np.squeeze, _back)
rule(np.swapaxes, lambda a, axis1, axis2: lambda g: np.swapaxes(g, axis1, axis2))
rule(np.transpose, _transpose)
rule(np.matrix_transpose, lambda x, /: lambda g: np.swapaxes(g, -1, -2))
rule(np.moveaxis, lambda a, source, destination: lambda g: np.moveaxis(g, destination, source))
rule(np.broadcast_to, lambda array, shape, subok=False: lambda g: g)
rule(np.flip, lambda m, axis=None: lambda g: np.flip(g, axis))
rule(np.fliplr, lambda m: lambda g: np.fliplr(g))
rule(np.flipud, lambda m: lambda g: np.flipud(g))
rule(np.rot90, lambda m, k=1, axes=(0, 1): lambda g: np.rot90(g, -k, axes))
rule(np.roll, lambda a, shift, axis=None: lambda g: np.roll(g, np.negative(shift), axis))
rule(np.copy, lambda a, order="K", subok=False: lambda g: g, honours="order")


def _at_least(function: Any) -> None:
    def body(*arys: Any) -> Any:
        made = tuple(a.reshape(function(np.empty(a.shape, bool)).shape) for a in arys)
        return made[0] if len(made) == 1 else made

    composed(function, arrays="arys")(body)


for _function in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
    _at_least(_function)


@composed(np.broadcast_arrays, arrays="args")
def _broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    shape = np.broadcast_shapes(*[a.shape for a in args])
    return tuple(np.broadcast_to(a, shape) for a in args)


@composed(np.meshgrid, arrays="xi", honours="copy")
def _meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    axes = list(range(len(xi)))
    if indexing == "xy" and len(xi) > 1:
        axes[:2] = [1, 0]
    lines = [a.reshape(tuple(a.size if axis == at else 1 for axis in range(len(xi)))) for a, at in zip(xi, axes, strict=True)]
    return tuple(lines) if sparse else _broadcast_arrays(*lines)


def moved(function: Any) -> None:
    """Adds a row for a function that only moves elements: it is asked where it moves their numbers."""
    signature = inspect.signature(function)

    def body(*args: Any, **options: Any) -> Any:
        a, *rest = signature.bind(*args, **options).args
        numbers = function(np.arange(a.size).reshape(a.shape), *rest)
        return a.reshape(-1)[numbers] if a.size else np.zeros(numbers.shape, a.dtype)

    body.__signature__ = signature  # type: ignore[attr-defined]
    composed(function)(body)


for _mover in (np.repeat, np.tile, np.rollaxis, np.delete, np.resize):
    moved(_mover)


@composed(np.pad)
def _pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    numbers = np.arange(1, array.size + 1).reshape(array.shape)
    if mode in ("edge", "reflect", "symmetric", "wrap") and kwargs.get("reflect_type", "even") == "even":
        return array.reshape(-1)[np.pad(numbers - 1, pad_width, mode=mode)]
    if mode != "constant":
        raise TypeError(f"np.pad has no gradient with mode={mode!r} and {kwargs}; use .value there if none is needed")
    fill = np.pad(np.zeros(array.shape, array.dtype), pad_width, mode="constant", **kwargs)
    inside = np.pad(numbers, pad_width)
    return np.where(inside > 0, array.reshape(-1)[np.maximum(inside - 1, 0)], fill) if array.size else fill


@composed(np.linspace, arrays="start stop", honours="device")
def _linspace(start: Any, stop: Any, num: Any = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None,
              axis: int = 0, *, device: Any = None) -> Any:
    parts = num - 1 if endpoint else num
    ndim = max(start.ndim, stop.ndim)
    share = (np.arange(num) / max(parts, 1)).reshape((num,) + (1,) * ndim)
    line = np.moveaxis(start * (1.0 - share) + stop * share, 0, axis)
    return (line, (stop - start) / parts if parts > 0 else np.nan) if retstep else line


@composed(np.full_like, arrays="a fill_value", honours="order subok device")
def _full_like(a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, *,
               device: Any = None) -> Any:
    return np.broadcast_to(fill_value, a.shape if shape is None else shape)


plainly(np.full_like, lambda args, options: not tensors_in((*args[1:2], options.get("fill_value"))))
constant("depends on the shape alone", np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like,
         np.result_type, np.can_cast, np.min_scalar_type, np.common_type, np.shares_memory, np.may_share_memory,
         np.array_repr, np.array_str, np.array2string)
