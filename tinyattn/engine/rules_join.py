"""Rules of functions that join arrays or cut them."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from tinyattn.engine.moves import gathered
from tinyattn.engine.table import rule


def pieces(arrays: Sequence[Any], widths: Sequence[int], axis: int) -> Callable[[Any, int], Any]:
    """Returns the function that cuts piece i out of the gradient of arrays joined along an axis."""
    shapes, edges = [np.shape(a) for a in arrays], [0, *accumulate(widths)]
    return lambda g, i: g[(*(slice(None),) * (axis % g.ndim), slice(edges[i], edges[i + 1]))].reshape(shapes[i])


def _concatenate(arrays: Sequence[Any], axis: Any = 0) -> Callable[[Any, int], Any]:
    return pieces(arrays, [math.prod(np.shape(a)) if axis is None else a.shape[axis] for a in arrays], axis or 0)


def _stack(axis: int = 0) -> Callable[[Any, int], Any]:
    return lambda g, i: g[(*(slice(None),) * (axis % g.ndim), i)]


def joins(function: Any, form: Callable[[Any], Any], axis: int) -> None:
    """Adds the row of a function that joins arrays along an axis, or their last one, after bringing them into a form."""
    def maker(tup: Sequence[Any]) -> Callable[[Any, int], Any]:
        formed = [form(np.broadcast_to(False, np.shape(a))) for a in tup]
        place = min(axis, formed[0].ndim - 1)
        return pieces(tup, [a.shape[place] for a in formed], place)

    rule(function, maker, sequences="tup")


rule(np.concatenate, _concatenate, sequences="arrays",
     like=lambda arrays, /, axis=0, out=None, *, dtype=None, casting="same_kind": None)
rule(np.stack, _stack, sequences="arrays")
joins(np.vstack, np.atleast_2d, 0)
joins(np.hstack, np.atleast_1d, 1)
joins(np.dstack, np.atleast_3d, 2)
joins(np.column_stack, lambda a: a.reshape(-1, 1) if a.ndim < 2 else a, 1)
rule(np.append, body=lambda arr, values, axis=None: np.concatenate((arr, values), axis=axis), arrays="arr values")


def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Callable[[list[Any]], Any]:
    shape, front = ary.shape, (slice(None),) * (axis % ary.ndim)

    def pull(gs: list[Any]) -> Any:
        places = np.array_split(np.arange(shape[axis]), indices_or_sections)
        return gathered([(g, (*front, slice(p[0], p[-1] + 1))) for g, p in zip(gs, places, strict=True)
                         if g is not None and p.size], shape)
    return pull


def _unstack(x: Any, axis: int = 0) -> Callable[[list[Any]], Any]:
    shape, front = x.shape, (slice(None),) * (axis % x.ndim)
    return lambda gs: gathered([(g, (*front, i)) for i, g in enumerate(gs) if g is not None], shape)


rule(np.split, _split, arrays="ary", widens=False)
rule(np.array_split, _split, arrays="ary", widens=False)
rule(np.hsplit, lambda ary, indices_or_sections: _split(ary, indices_or_sections, 0 if ary.ndim == 1 else 1))
rule(np.vsplit, lambda ary, indices_or_sections: _split(ary, indices_or_sections, 0))
rule(np.dsplit, lambda ary, indices_or_sections: _split(ary, indices_or_sections, 2))
if hasattr(np, "unstack"):  # from NumPy 2.1 on
    rule(np.unstack, _unstack)
