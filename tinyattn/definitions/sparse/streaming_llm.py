"""StreamingLLM: attention to the first tokens and the last ones, with positions counted within the cache."""

from __future__ import annotations

import numpy as np

from tinyattn.definitions.softmax.lse import attention_with_lse
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.constructors import causal, sliding_window
from tinyattn.ops.masks.constructors import first as first_keys
from tinyattn.ops.merge import merge
from tinyattn.ops.options import first_position
from tinyattn.ops.positions.rotary import rotary
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def streaming_llm_attention(q: Array, k: Array, v: Array, *, first: int, window: int, base: float = 10000.0,
                            scale: float | None = None) -> Array:
    """Returns attention to the first keys and the last ones, rotated by their places in a cache of first + window tokens.

    Formula: query t sees j < first and t - j < window. The keys that are kept have places 0, 1, ... in the cache and the
    query has the last place, so that the distance is t - j in the window and min(t, first + window - 1) - j for the first
    keys. The two parts are merged into one softmax.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), not rotated -> (..., heads, i, e).

    Args:
        q: queries, the last q_len tokens.
        k: keys.
        v: values.
        first: how many of the first keys are kept; with 0 it is a sliding window.
        window: how many of the last keys are kept, the query's own included.
        base: the base of the rotary frequencies.
        scale: None is d ** -0.5.

    Raises:
        TypeError, ValueError: a negative first, a window below 1, an odd d, q_len above kv_len; otherwise as `attention`.

    Paper: Xiao et al. 2023, arXiv:2309.17453.

    >>> x = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    >>> streaming_llm_attention(x * 0, x * 0, x, first=1, window=1)[2]
    array([2.5, 0. ])
    """
    first, window = whole("first", first, 0), whole("window", window, 1)
    if q.shape[-1] % 2:
        raise ValueError(f"q: rotary positions rotate pairs of channels and need an even head_dim, got shape {q.shape}")
    kv_len = k.shape[-2]
    positions = np.arange(first_position(q, k), kv_len)
    keys = rotary(k, np.arange(kv_len), base=base)
    near = attention_with_lse(rotary(q, positions, base=base), keys, v, mask=sliding_window(window) & ~first_keys(first), scale=scale)
    places = np.minimum(positions, first + window - 1)
    far = attention_with_lse(rotary(q, places, base=base), keys, v, mask=causal() & first_keys(first), scale=scale)
    return merge(near, far)[0]
