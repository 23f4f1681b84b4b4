"""Derivatives of functions that join arrays or cut them."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from tinyattn.engine.arguments import tensors_in
from tinyattn.engine.moves import put
from tinyattn.engine.table import composed, joint, several


@joint(np.concatenate, sequences="arrays")
def _concatenate(arrays: Sequence[Any], /, axis: Any = 0, out: Any = None, *, dtype: Any = None,
                 casting: str = "same_kind") -> Callable[[Any], Sequence[Any]]:
    shapes = [a.shape for a in arrays]
    edges = [0, *accumulate(math.prod(s) if axis is None else s[axis] for s in shapes)]
    ours = [i for i, a in enumerate(arrays) if tensors_in([a])]

    def pull(g: Any) -> Sequence[Any]:
        if axis is None:
            return [g[edges[i] : edges[i + 1]].reshape(shapes[i]) for i in ours]
        front = (slice(None),) * (axis % g.ndim)
        return [g[(*front, slice(edges[i], edges[i + 1]))] for i in ours]
    return pull


@joint(np.stack, sequences="arrays")
def _stack(arrays: Sequence[Any], axis: int = 0, out: Any = None, *, dtype: Any = None,
           casting: str = "same_kind") -> Callable[[Any], Sequence[Any]]:
    ours = [i for i, a in enumerate(arrays) if tensors_in([a])]
    return lambda g: [g[(*(slice(None),) * (axis % g.ndim), i)] for i in ours]


@composed(np.vstack, arrays="", sequences="tup")
def _vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    return np.concatenate([np.atleast_2d(a) for a in tup], axis=0)


@composed(np.hstack, arrays="", sequences="tup")
def _hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    rows = [np.atleast_1d(a) for a in tup]
    return np.concatenate(rows, axis=0 if rows[0].ndim == 1 else 1)


@composed(np.dstack, arrays="", sequences="tup")
def _dstack(tup: Any) -> Any:
    return np.concatenate([np.atleast_3d(a) for a in tup], axis=2)


@composed(np.column_stack, arrays="", sequences="tup")
def _column_stack(tup: Any) -> Any:
    return np.concatenate([a.reshape(-1, 1) if a.ndim < 2 else a for a in tup], axis=1)


@composed(np.append, arrays="arr values")
def _append(arr: Any, values: Any, axis: Any = None) -> Any:
    return np.concatenate((arr, values), axis=axis)


@several(np.split)
@several(np.array_split)
def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Callable[[list[Any]], Any]:
    shape, dtype, axis = ary.shape, ary.dtype, axis % ary.ndim

    def pull(gs: list[Any]) -> Any:
        places, front = np.array_split(np.arange(shape[axis]), indices_or_sections), (slice(None),) * axis
        if np.array_equal(np.concatenate(places), np.arange(shape[axis])):
            parts = [np.zeros((*shape[:axis], p.size, *shape[axis + 1 :]), dtype) if g is None else g
                     for g, p in zip(gs, places, strict=True)]
            return np.concatenate(parts, axis=axis)
        # Cuts that step back, as in np.split(a, [3, 1]), give some elements twice and leave others out.
        return sum(put(g, (*front, p), shape) for g, p in zip(gs, places, strict=True) if g is not None)
    return pull


composed(np.hsplit)(lambda ary, indices_or_sections: np.split(ary, indices_or_sections, 0 if ary.ndim == 1 else 1))
composed(np.vsplit)(lambda ary, indices_or_sections: np.split(ary, indices_or_sections, 0))
composed(np.dsplit)(lambda ary, indices_or_sections: np.split(ary, indices_or_sections, 2))
if hasattr(np, "unstack"):  # from NumPy 2.1 on
    composed(np.unstack)(lambda x, /, *, axis=0: tuple(np.moveaxis(x, axis, 0)))
