"""Derivatives of functions that fold an axis."""

from typing import Any

import numpy as np

from tinyattn.engine.table import composed, rule


def spread(g: Any, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Any:
    """Returns a reduction's gradient stretched back over the axes it folded."""
    if axis is None:
        return np.broadcast_to(g.reshape((1,) * len(shape)), shape)
    if not keepdims:
        g = np.expand_dims(g, axis)
    return np.broadcast_to(g, shape)


rule(np.sum, lambda x, axis=None, dtype=None, out=None, keepdims=False:
     lambda g, shape=x.shape: spread(g, shape, axis, keepdims))


@composed(np.mean)
def _mean(x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False) -> Any:
    total = np.sum(x, axis=axis, keepdims=keepdims)
    count = x.size // max(total.size, 1)
    return total * (1.0 / count)
