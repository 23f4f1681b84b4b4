"""The moves a Tensor makes itself: into another dtype, out at an index, back in at one, through a solve."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.dtypes import NAMES, floating
from tinyattn.engine.table import internal, rule


@internal
def cast(x: Any, dtype: Any) -> Any:
    """Returns x in another floating dtype."""
    kind = np.dtype(dtype)
    if not floating(kind):
        raise TypeError(f"astype: a Tensor is {NAMES}, got {kind}; use .value")
    return x.astype(kind)


rule(cast.plain, lambda x, dtype: lambda g: g, widens=False)  # type: ignore[attr-defined]


@internal
def take(x: Any, index: Any) -> Any:
    """Returns x[index]."""
    return x[index]


@internal
def put(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Returns zeros of a shape with g added at an index: what `take` undoes, repeated places summed."""
    out = np.zeros(shape, g.dtype)
    parts = index if isinstance(index, tuple) else (index,)
    if all(isinstance(part, (int, np.integer, slice, type(None), type(...))) for part in parts):
        out[index] = g
    elif len(parts) == 1 and isinstance(index, np.ndarray) and index.dtype.kind in "iu" and g.size > 4096:
        # Rows of an embedding. Sorted and summed by runs: 6 times faster than np.add.at on 2048 rows of 128.
        places = index.astype(np.intp)  # in uint8 or int8 the sum below would overflow
        flat = np.where(places < 0, places + shape[0], places).reshape(-1)
        order = np.argsort(flat, kind="stable")
        chosen, starts = np.unique(flat[order], return_index=True)
        out[chosen] = np.add.reduceat(g.reshape(len(flat), *shape[1:])[order], starts, axis=0)
    else:
        np.add.at(out, index, g)
    return out


def _take(x: Any, index: Any) -> Any:
    shape = x.shape
    return lambda g: put(g, index, shape)


rule(take.plain, _take, widens=False)  # type: ignore[attr-defined]
rule(put.plain, lambda g, index, shape: lambda d: take(d, index))  # type: ignore[attr-defined]


@internal
def solve_rows(a: Any, b: Any) -> Any:
    """Returns x with a x = b, b a matrix or a stack of them."""
    return np.linalg.solve(a, b)


rule(solve_rows.plain,  # type: ignore[attr-defined]
     lambda result, a, b: lambda g: -(solve_rows(np.swapaxes(a, -1, -2), g) @ np.swapaxes(result, -1, -2)),
     lambda a, b: lambda g: solve_rows(np.swapaxes(a, -1, -2), g))
