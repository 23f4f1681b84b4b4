"""StreamingLLM: a window at true distances and the first tokens at theirs, merged by their sums of exponentials."""

from __future__ import annotations

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention, attention_with_lse
from tinyattn.kernels.tiles.rows import merged, turned
from tinyattn.ops.checks import whole
from tinyattn.ops.options import first_position
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
    """
    first, window = whole("first", first, 0), whole("window", window, 1)
    if q.shape[-1] % 2:
        raise ValueError(f"q: rotary positions turn pairs and need an even head_dim, got shape {q.shape}")
    start, kv_len = first_position(q, k), k.shape[-2]
    early = min(q.shape[-2], max(0, first + window - start))  # queries for which nothing has been forgotten
    queries, keys = turned(q, np.arange(start, kv_len), base, False), turned(k, np.arange(kv_len), base, False)
    whole_past = attention(queries[..., :early, :], keys[..., : start + early, :], v[..., : start + early, :], causal=True, scale=scale)
    if early == q.shape[-2]:
        return whole_past
    near = attention_with_lse(queries[..., early:, :], keys, v, causal=True, window=(window - 1, 0), scale=scale)
    kept = turned(k[..., :first, :], np.arange(first) - (first + window - 1), base, False)
    far = attention_with_lse(q[..., early:, :], kept, v[..., :first, :], scale=scale)
    return np.concatenate((whole_past, merged(*near, *far)[0]), axis=-2)
