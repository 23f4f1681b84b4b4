"""Linformer: the exact kernel over mixtures of keys and of values."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.primitive import primitive
from tinyattn.kernels.softmax.dot_product import attention
from tinyattn.kernels.tiles import pages
from tinyattn.kernels.tiles.rows import again
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
    return attention(q, mixtures(e, k, is_learned(e)), mixtures(f, v, is_learned(f)), scale=scale)


def is_learned(projection: Any) -> bool:
    """Returns whether a projection wants a gradient, which takes as many products as all else."""
    return not isinstance(projection, np.ndarray)


def mixtures_in_numpy(projection: Array, x: Array, _learned: bool) -> Array:
    """Returns `mixtures` by functions that have rules."""
    return projection @ x


@again(mixtures_in_numpy)
@primitive
def mixtures(projection: Array, x: Array, learned: bool) -> tuple[Array, Any]:
    """Returns projection @ x, (rank, j) or (kv_heads, rank, j) times (..., kv_heads, j, width), and what the backward reads."""
    return projection @ x, (projection, x, learned)


@mixtures.backward_giving
def _(d_out: Array, saved: Any) -> dict[str, Array]:
    projection, x, learned = saved
    gradients = {"x": projection.mT @ d_out}
    if learned:
        # Added up head by head: the gradients of all heads together are as many times the projection, here and in its sum.
        d_projection = pages.zeros(projection.shape, projection.dtype)
        for at in np.ndindex(x.shape[:-2]):
            d_projection[at[-1:] if projection.ndim > 2 else ()] += d_out[at] @ x[at].mT
        gradients["projection"] = d_projection
    return gradients
