"""Attention with contextual positions (CoPE): each query counts the tokens that its gates select, and reads a bias by the count."""

from __future__ import annotations

from typing import Any

from tinyattn.definitions.softmax.contextual_position import contextual_position_bias
from tinyattn.definitions.softmax.dot_product import attention
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def contextual_position_attention(q: Array, k: Array, v: Array, *, embedding: Array, causal: bool = True,
                                  mask: Array | Pattern | None = None, window: Window | None = None, scale: float | None = None,
                                  softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention with the bias of `contextual_position_bias`, made from the same queries, keys and options.

    Formula: s_ij = cap(scale q_i . k_j) + q_i . e[p_ij], p_ij = min(sum_{l >= j} sigmoid(scale q_i . k_l), positions - 1) over
    the l that i sees; between two whole positions q_i . e is interpolated.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), embedding (positions, d) -> (..., heads, i, e).

    Options: as `attention`, causal unless told otherwise.

    Raises:
        TypeError, ValueError: as `contextual_position_bias`.

    Paper: Golovneva et al. 2024, arXiv:2405.18719.

    >>> import numpy as np
    >>> q, k, v = np.zeros((2, 1)), np.zeros((2, 1)), np.array([[1.0], [3.0]])
    >>> contextual_position_attention(q, k, v, embedding=np.ones((3, 1)))[:, 0]
    array([1., 2.])
    """
    same: dict[str, Any] = {"causal": causal, "mask": mask, "window": window, "scale": scale}
    bias = contextual_position_bias(q, k, embedding=embedding, **same)
    return attention(q, k, v, bias=bias, softcap=softcap, sinks=sinks, **same)
