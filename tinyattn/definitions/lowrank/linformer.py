"""Linformer: keys and values are projected to a fixed, smaller length."""

from __future__ import annotations

from typing import Any

from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.signature import floating, shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def linformer_attention(q: Array, k: Array, v: Array, *, project_k: Array, project_v: Array, scale: float | None = None) -> Array:
    """Returns attention to `rank` linear combinations of the keys and of the values.

    Formula: out = softmax(scale q (E k)^T) (F v), E = project_k, F = project_v.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), project_k and project_v (rank, j) or
    (kv_heads, rank, j) -> (..., heads, i, e). Every query sees all keys, so that it cannot be causal; the projections fix the
    length.

    Raises:
        TypeError, ValueError: projections that are not floating, or whose lengths or ranks differ; otherwise as `attention`.

    Paper: Wang et al. 2020, arXiv:2006.04768.

    >>> import numpy as np
    >>> x = np.array([[1.0], [3.0]])
    >>> linformer_attention(x, x, x, project_k=np.array([[0.5, 0.5]]), project_v=np.array([[0.5, 0.5]]))
    array([[2.],
           [2.]])
    """
    e, f = (check_projection(name, p, k).astype(q.dtype) for name, p in (("project_k", project_k), ("project_v", project_v)))
    if e.shape[-2] != f.shape[-2]:
        raise ValueError(f"project_v: expected the rank of project_k {e.shape}, got shape {f.shape}")
    return attention(q, e @ k, f @ v, scale=scale)


def check_projection(name: str, projection: Any, k: Array) -> Array:
    """Returns a projection, checked to have the length of the keys; it serves all heads or has one matrix per head."""
    projection = floating(name, projection)
    kv_heads, kv_len = k.shape[-3], k.shape[-2]
    if projection.ndim not in (2, 3) or projection.shape[-1] != kv_len or projection.shape[:-2] not in ((), (kv_heads,)):
        raise ValueError(f"{name}: expected shape (rank, {kv_len}) or ({kv_heads}, rank, {kv_len}), got shape {projection.shape}")
    checked: Array = projection
    return checked
