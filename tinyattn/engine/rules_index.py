"""Rules of functions that select or move elements: each element's gradient goes back to where it came from."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.moves import put
from tinyattn.engine.table import constant, refused, rule


def by_number(function: Any, array: str = "") -> Callable[..., Callable[[Any], Any]]:
    """Returns the maker of a function that only moves elements of one array, by default its first argument.

    The function is run on element numbers; its result then says which element each result came from.
    """
    signature = inspect.signature(function)
    array = array or next(iter(signature.parameters))

    def maker(**given: Any) -> Callable[[Any], Any]:
        shape, size = given[array].shape, given[array].size
        del given[array]  # only its shape is needed

        def pull(g: Any) -> Any:
            if not size:
                return np.zeros(shape, g.dtype)
            call = inspect.BoundArguments(signature, given | {array: np.arange(size).reshape(shape)})
            return put(g, function(*call.args, **call.kwargs), (size,)).reshape(shape)
        return pull
    return maker


for _function in (np.repeat, np.tile, np.rollaxis, np.delete, np.resize, np.take, np.take_along_axis, np.diagonal,
                  np.linalg.diagonal, np.lib.stride_tricks.sliding_window_view):
    rule(_function, by_number(_function))
rule(np.compress, by_number(np.compress, "a"), arrays="a")
rule(np.extract, by_number(np.extract, "arr"), arrays="arr")


def _pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Callable[[Any], Any]:
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap") or kwargs.get("reflect_type", "even") != "even":
        raise TypeError(f"np.pad has no gradient with mode={mode!r} and {kwargs}; use .value there if none is needed")
    shape, size = array.shape, array.size

    def pull(g: Any) -> Any:
        # Elements are counted from 1 here: a value that comes from none of them, such as the padding of mode "constant", has number 0.
        numbers = np.pad(np.arange(1, size + 1).reshape(shape), pad_width, mode=mode)
        return put(g, numbers, (size + 1,))[1:].reshape(shape)
    return pull


def _diag(v: Any, k: int = 0) -> Callable[[Any], Any]:
    return by_number(np.diag)(v=v, k=k) if v.ndim == 2 else lambda g: np.diagonal(g, k)


rule(np.pad, _pad)
rule(np.diag, _diag)
rule(np.trace, body=lambda a, offset=0, axis1=0, axis2=1, dtype=None: np.sum(
    np.diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype))
rule(np.linalg.trace, body=lambda x, offset=0, dtype=None: np.sum(np.diagonal(x, offset, -2, -1), axis=-1, dtype=dtype))
rule(np.tril, lambda k=0: lambda g: np.tril(g, k))
rule(np.triu, lambda k=0: lambda g: np.triu(g, k))


def _sort(a: Any, axis: Any = -1, descending: Any = np._NoValue) -> Any:
    if axis is None:
        a, axis = a.reshape(-1), 0
    if not a.ndim:
        return np.positive(a)
    falling = descending is not np._NoValue and descending
    way: dict[str, Any] = {"stable": True, "descending": True} if falling else {"kind": "stable"}
    return np.take_along_axis(a, np.argsort(a, axis=axis, **way), axis)


def _select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    chosen = default
    for condition, choice in zip(reversed(list(condlist)), reversed(choicelist), strict=True):
        chosen = np.where(condition, choice, chosen)
    return chosen


rule(np.sort, body=_sort)
rule(np.select, body=_select, arrays="default", sequences="choicelist")
constant("indices", np.argsort, np.argpartition, np.searchsorted, np.nonzero, np.flatnonzero, np.argwhere,
         np.digitize, np.lexsort, np.isin, np.histogram_bin_edges,
         *(getattr(np, name) for name in ("in1d",) if hasattr(np, name)))  # gone from NumPy 2.4 on
refused("it writes into its argument; build the result with np.where or np.concatenate, or write to a copy of .value",
        np.copyto, np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal)
