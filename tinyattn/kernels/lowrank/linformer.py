"""Linformer: the exact kernel over mixtures of keys and of values."""

from __future__ import annotations

from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.ops.arguments import check_projections
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def linformer_attention(q: Array, k: Array, v: Array, *, project_k: Array, project_v: Array, scale: float | None = None) -> Array:
    """Returns attention to `rank` mixtures of keys and of values; compiled.

    Formula: out = attention(q, E k, F v), E = project_k, F = project_v.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), project_k and project_v (rank, j) or
    (kv_heads, rank, j) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.linformer_attention`.

    Paper: Wang et al. 2020, arXiv:2006.04768.

    >>> import numpy as np
    >>> x = np.array([[1.0], [3.0]])
    >>> linformer_attention(x, x, x, project_k=np.array([[0.5, 0.5]]), project_v=np.array([[0.5, 0.5]]))
    array([[2.],
           [2.]])
    """
    e, f = check_projections(project_k, project_v, q, k)
    return attention(q, e @ k, f @ v, scale=scale)
