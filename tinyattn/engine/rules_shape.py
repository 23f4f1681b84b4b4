"""Rules of functions that change the shape of an array, or the order of its axes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.arguments import bare
from tinyattn.engine.table import constant, rule


def in_order(a: Any, order: Any) -> Any:
    """Returns the order of elements that `order` means for an array; A is F or C, whichever order the array has in memory."""
    if order != "A":
        return order
    flags = bare(a).flags
    return "F" if flags.f_contiguous and not flags.c_contiguous else "C"


def _reshape(a: Any, order: Any = "C") -> Callable[[Any], Any]:
    old, order = a.shape, in_order(a, order)
    if order == "C":
        return lambda g: g.reshape(old)
    return lambda g: np.reshape(g, old, order)


def _ravel(a: Any, order: Any = "C") -> Callable[[Any], Any]:
    old, order = a.shape, in_order(a, order)
    if order != "K":
        return lambda g: np.reshape(g, old, order)
    numbers = np.empty_like(bare(a), np.intp)  # laid out in memory as the array is
    numbers[...] = np.arange(numbers.size).reshape(old)
    places = np.argsort(np.ravel(numbers, "K"))
    return lambda g: g[places].reshape(old)


def _squeeze(a: Any) -> Callable[[Any], Any]:
    old = a.shape
    return lambda g: g.reshape(old)


def _transpose(a: Any, axes: Any = None) -> Callable[[Any], Any]:
    if axes is None:
        return lambda g: g.transpose()
    ahead = [int(axis) % a.ndim for axis in axes]
    return lambda g: g.transpose([ahead.index(i) for i in range(len(ahead))])


rule(np.reshape, _reshape, honours="order copy")
rule(np.ravel, _ravel, honours="order")
rule(np.expand_dims, lambda axis: lambda g: np.squeeze(g, axis))
rule(np.squeeze, _squeeze)
rule(np.swapaxes, lambda axis1, axis2: lambda g: np.swapaxes(g, axis1, axis2))
rule(np.transpose, _transpose)
for _function in (np.matrix_transpose, np.linalg.matrix_transpose):
    rule(_function, lambda: lambda g: np.swapaxes(g, -1, -2))
rule(np.moveaxis, lambda source, destination: lambda g: np.moveaxis(g, destination, source))
rule(np.broadcast_to, lambda: lambda g: g)
rule(np.flip, lambda axis=None: lambda g: np.flip(g, axis))
rule(np.fliplr, lambda: lambda g: np.fliplr(g))
rule(np.flipud, lambda: lambda g: np.flipud(g))
rule(np.rot90, lambda k=1, axes=(0, 1): lambda g: np.rot90(g, -k, axes))
rule(np.roll, lambda shift, axis=None: lambda g: np.roll(g, np.negative(shift), axis))
rule(np.copy, lambda: lambda g: g, honours="order")
if hasattr(np, "astype"):  # from NumPy 2.1 on
    rule(np.astype, lambda: lambda g: g, honours="copy device", widens=False)


def _at_least(*arys: Any) -> Callable[[Any, int], Any]:
    def pull(g: Any, i: int) -> Any:
        g = g[i] if isinstance(g, list) else g  # for a single array NumPy returns one result, not a list
        return None if g is None else g.reshape(np.shape(arys[i]))
    return pull


def _meshgrid(*xi: Any, indexing: str = "xy") -> Callable[[list[Any], int], Any]:
    def pull(gs: list[Any], i: int) -> Any:
        mine = 1 - i if indexing == "xy" and len(xi) > 1 and i < 2 else i
        others = tuple(axis for axis in range(len(xi)) if axis != mine)
        return None if gs[i] is None else np.sum(gs[i], axis=others).reshape(np.shape(xi[i]))
    return pull


def _linspace(start: Any, stop: Any, num: Any = 50, endpoint: bool = True, retstep: bool = False, axis: int = 0) -> Any:
    steps = num - 1 if endpoint else num
    ndim = max(start.ndim, stop.ndim)
    along = (np.arange(num) / max(steps, 1)).reshape((num,) + (1,) * ndim)
    line = np.moveaxis(start * (1.0 - along) + stop * along, 0, axis)
    return (line, (stop - start) / steps if steps > 0 else np.nan) if retstep else line


for _function in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
    rule(_function, _at_least)
rule(np.broadcast_arrays, lambda: lambda gs, i: gs[i])
rule(np.meshgrid, _meshgrid, honours="copy")
rule(np.linspace, body=_linspace, arrays="start stop", honours="device")
rule(np.full_like, lambda: lambda g: None,
                   lambda: lambda g: g, honours="order subok device", only="fill_value")
constant("depends on the shape alone", np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like,
         np.result_type, np.can_cast, np.min_scalar_type, np.common_type, np.shares_memory, np.may_share_memory,
         np.array_repr, np.array_str, np.array2string)
