"""One function a mechanism: the best there is for this call."""

from __future__ import annotations

import math
from typing import Any

from tinyattn import definitions
from tinyattn.ops.types import Array

# Above this many bytes of scores the streaming form is faster, as its blocks stay in the cache of the processor.
SCORES_BYTES = 1 << 26


def attention(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """Returns `definitions.attention(q, k, v, **options)` from the form that suits the sizes.

    Where all scores together would take more than 64 MiB, this is the streaming form, which holds one block of them
    at a time.

    Shapes and options: as `tinyattn.definitions.attention`.

    Raises:
        TypeError, ValueError: as `tinyattn.definitions.attention`.

    >>> import numpy as np
    >>> attention(np.zeros((1, 2)), np.eye(2), np.array([[1.0], [3.0]]))
    array([[2.]])
    """
    # What has no such axes is left for the definition to refuse by name.
    scores = math.prod(getattr(q, "shape", ())[:-1]) * math.prod(getattr(k, "shape", ())[-2:-1])
    large = scores * getattr(getattr(q, "dtype", None), "itemsize", 0) > SCORES_BYTES
    out: Array = (definitions.streaming_attention if large else definitions.attention)(q, k, v, **options)
    return out
