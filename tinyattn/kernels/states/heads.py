"""Large arrays head by head: what is made of them in between is there for one head per thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinyattn.kernels.tiles.threads import each, thread_count, threads, workers_for
from tinyattn.ops.types import Array

# Numbers of the values from which on each head is by itself: fewer take little memory, and all heads in one call fewer calls.
LARGE = 1 << 22


def head_by_head(solve: Callable[..., Sequence[Array]], arrays: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> Sequence[Array]:
    """Returns the arrays of these shapes that solve(*arrays) returns: to the bit the same where no head reads another.

    All arrays have the same leading axes before that of heads; the second are the keys, whose heads are shared out, the third the
    values. What is None stays None.
    """
    keys, values = arrays[1], arrays[2]
    axis, heads = keys.ndim - 3, keys.shape[-3]
    if heads < 2 or values.size < LARGE:
        return solve(*arrays)
    results = [np.empty(shape, keys.dtype) for shape in shapes]
    inner = max(1, thread_count() // workers_for(heads, values.size))

    def own(x: Any, head: int) -> Any:
        if x is None:
            return None
        count = x.shape[axis] // heads
        return x[(slice(None),) * axis + (slice(head * count, (head + 1) * count),)]

    def one(head: int) -> None:
        with threads(inner):
            for whole, part in zip(results, solve(*[own(x, head) for x in arrays]), strict=True):
                own(whole, head)[...] = part

    each(one, heads, values.size)
    return results
