"""The arguments of dual chunk attention, whose positions count within chunks, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.ops.checks import index_array, whole
from tinyattn.ops.types import Array


def check_chunks(q: Array, k: Array, chunk: int, local: int, clamp: str, positions: Any) -> tuple[int, int, Array]:
    """Returns the chunk length, the largest position that a query can have, and the positions of the keys."""
    chunk, local = whole("chunk", chunk, 1), whole("local", local, 1)
    if clamp not in ("paper", "code"):
        raise ValueError(f"clamp: expected 'paper' or 'code', got {clamp!r}")
    q_len, kv_len = q.shape[-2], k.shape[-2]
    if q_len > kv_len:
        raise ValueError(f"q: expected q_len <= kv_len, got q {q.shape} and k {k.shape}")
    if q.shape[-1] % 2:
        raise ValueError(f"q: rotary positions need an even head_dim, got shape {q.shape}")
    most = chunk + local - 1 if clamp == "paper" else min(2 * chunk - 1, chunk + local)
    if positions is None:
        return chunk, most, np.arange(kv_len)
    positions = index_array("positions", positions)
    if positions.shape != (kv_len,):
        raise ValueError(f"positions: expected shape ({kv_len},), one per key, got shape {positions.shape}")
    at = positions.astype(np.int64)
    if np.any(at[1:] <= at[:-1]):
        raise ValueError(f"positions: expected each to be larger than the previous one, got {positions}")
    return chunk, most, at
