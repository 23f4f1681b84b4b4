"""What a Tensor does besides NumPy's functions: change its dtype, select by an index, and put a gradient back at that index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.dtypes import NAMES, floating
from tinyattn.engine.graph import PLAIN, mode
from tinyattn.engine.sums import Placed, add_at
from tinyattn.engine.table import with_rule


@with_rule(lambda: lambda g: g, widens=False)
def cast(x: Any, dtype: Any) -> Any:
    """Returns x in another floating dtype."""
    kind = np.dtype(dtype)
    if not floating(kind):
        raise TypeError(f"astype: a Tensor is {NAMES}, got {kind}; use .value")
    return x.astype(kind)


def gathered(parts: list[tuple[Any, Any]], shape: tuple[int, ...]) -> Any:
    """Returns the gradient of an array of this shape that is 0 except in these parts, which are pairs of a gradient and an index."""
    if mode.current is PLAIN:
        return Placed(parts)
    # A gradient that is recorded, to be differentiated again, must be a Tensor.
    return sum(put(g, index, shape) for g, index in parts) if parts else None


def _take(x: Any, index: Any) -> Callable[[Any], Any]:
    shape = x.shape
    return lambda g: gathered([(g, index)], shape)


@with_rule(_take, widens=False)
def take(x: Any, index: Any) -> Any:
    """Returns x[index]."""
    return x[index]


@with_rule(lambda index: lambda d: take(d, index))
def put(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Returns zeros of a shape with g added at an index."""
    out = np.zeros(shape, g.dtype)
    add_at(out, index, g)
    return out
