"""One function a mechanism: the best there is for this call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinyattn import definitions
from tinyattn.ops.types import Array

# Scores of a call that fit in a core's own cache; measured: 2 MiB and above cost three times as much an element.
PART_BYTES = 1 << 20
# Above this many bytes for one head's scores the streaming form is faster.
STREAM_BYTES = 1 << 26


def attention(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """Returns `definitions.attention(q, k, v, **options)` from the form that suits the sizes.

    A batch is cut so that the scores of each part stay in the processor's cache; where the scores of one call would
    take more than 64 MiB, the streaming form holds one block of them at a time.

    Shapes and options: as `tinyattn.definitions.attention`.

    Raises:
        TypeError, ValueError: as `tinyattn.definitions.attention`.

    >>> import numpy as np
    >>> attention(np.zeros((1, 2)), np.eye(2), np.array([[1.0], [3.0]]))
    array([[2.]])
    """
    shape, kv_shape, value_shape = (tuple(getattr(array, "shape", ())) for array in (q, k, v))
    # What has no such axes, or other ones, is left for the definition to refuse by name.
    fits = len(shape) >= 3 and len(kv_shape) == len(shape) and value_shape[:-1] == kv_shape[:-1]
    row = math.prod(shape[1:-1]) * kv_shape[-2] * q.dtype.itemsize if fits else 0  # scores of one entry, in bytes
    parts = min(shape[0], -(-shape[0] * row // PART_BYTES)) if row else 1
    batch = len(shape) > 3 and shape[:-3] == kv_shape[:-3]
    if parts > 1 and batch and all(same_along_first(options.get(name), len(shape)) for name in ("mask", "bias")):
        cuts = [np.array_split(array, parts) for array in (q, k, v)]
        return np.concatenate([definitions.attention(*part, **options) for part in zip(*cuts, strict=True)])
    large = row and row * shape[0] > STREAM_BYTES
    out: Array = (definitions.streaming_attention if large else definitions.attention)(q, k, v, **options)
    return out


def same_along_first(option: Any, ndim: int) -> bool:
    """Returns whether a mask or bias is the same for every entry of the first axis of q."""
    return option is None or (hasattr(option, "shape") and (len(option.shape) < ndim or option.shape[0] == 1))
