"""StreamingLLM: a window at true distances and the first tokens at theirs, merged by their sums of exponentials."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tinyattn.kernels.softmax.dot_product import attention_with_lse
from tinyattn.kernels.steps.rotary import rotary_primitive
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.kernels.tiles.rows import merged
from tinyattn.ops import masks
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import first_position
from tinyattn.ops.positions.frequencies import plain
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def streaming_llm_attention(q: Array, k: Array, v: Array, *, first: int, window: int, base: float = 10000.0,
                            scale: float | None = None) -> Array:
    """Returns attention to the first keys and the last ones, rotated by where they stand in a cache of first + window.

    Formula: up to position first + window - 1 nothing has been forgotten, and attention is causal. Of a later query the last
    `window` keys are at their true distances, and the first keys at that of the cache's last place, the same for all queries:
    the keys are turned back by it once, and the queries are left as they are.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), not rotated -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.streaming_llm_attention`.

    Paper: Xiao et al. 2023, arXiv:2309.17453.

    >>> import numpy as np
    >>> x = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    >>> streaming_llm_attention(x * 0, x * 0, x, first=1, window=1)[2]
    array([2.5, 0. ])
    """
    first, window = whole("first", first, 0), whole("window", window, 1)
    if q.shape[-1] % 2:
        raise ValueError(f"q: rotary positions turn pairs and need an even head_dim, got shape {q.shape}")
    plain(q.shape[-1], base)  # refuses by name what the lookup of kept angles could not hash
    start, kv_len = first_position(q, k), k.shape[-2]
    queries, keys = rotary_primitive(q, start, base), rotary_primitive(k, 0, base)
    near = attention_with_lse(queries, keys, v, mask=last_or_all(window, first + window), causal=True, scale=scale)
    if not first or kv_len <= first + window:
        return near[0]
    kept = rotary_primitive(k[..., :first, :], 1 - first - window, base)
    # Of these keys alone, the last query stands at first - 1.
    far = attention_with_lse(q, kept, v[..., :first, :], mask=from_position(2 * first + window - kv_len), scale=scale)
    return merged(*near, *far)[0]


@lru_cache(maxsize=16)
def last_or_all(window: int, forgetting: int) -> Pattern:
    """Returns the last `window` keys, and all keys for queries before the position from which on some are forgotten."""
    return Constant(masks.window(window - 1, None) | ~from_position(forgetting))


def from_position(place: int) -> Pattern:
    """Returns whether the query stands at a position or later."""
    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        return i1 >= place, i0 >= place

    return Pattern(lambda i, j: i >= place, corners=corners)
