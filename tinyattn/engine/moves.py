"""The three moves a Tensor makes itself: into another dtype, out at an index, and back in at one."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.table import internal, rule


@internal
def cast(x: Any, dtype: Any) -> Any:
    """Returns x in another floating dtype."""
    kind = np.dtype(dtype)
    if kind.kind != "f" or kind.itemsize > 8:
        raise TypeError(f"astype: a Tensor is float16, float32 or float64, got {kind}; use .value")
    return x.astype(kind)


rule(cast.plain, lambda x, dtype: lambda g: g)  # type: ignore[attr-defined]


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
    else:
        np.add.at(out, index, g)
    return out


rule(take.plain, lambda x, index: lambda g, shape=x.shape: put(g, index, shape))  # type: ignore[attr-defined]
rule(put.plain, lambda g, index, shape: lambda d: take(d, index))  # type: ignore[attr-defined]
