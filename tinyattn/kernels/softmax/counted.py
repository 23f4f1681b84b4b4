"""Contextual positions (CoPE) in the exact kernel: each query's gates are summed tile by tile, from the last key it sees on."""

from __future__ import annotations

from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.tiles.seen import sides_of
from tinyattn.ops.arguments import check_embedding
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_causal, check_mask, check_scale, check_sinks, check_softcap
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def contextual_position_attention(q: Array, k: Array, v: Array, *, embedding: Array, causal: bool = True,
                                  mask: Array | Pattern | None = None, window: Window | None = None, scale: float | None = None,
                                  softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention with a bias by the number of tokens that each query's gates select; compiled.

    Formula: s_ij = cap(scale q_i . k_j) + q_i . e[p_ij], p_ij the sum of the gates from key j on. q_i . e[n] is computed for
    a tile of queries at a time, and for the positions n that they count to.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), embedding (positions, d) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.contextual_position_attention`.

    Paper: Golovneva et al. 2024, arXiv:2405.18719.

    >>> import numpy as np
    >>> q, k, v = np.zeros((2, 1)), np.zeros((2, 1)), np.array([[1.0], [3.0]])
    >>> contextual_position_attention(q, k, v, embedding=np.ones((3, 1)))[:, 0]
    array([1., 2.])
    """
    embedding, full = check_embedding(embedding, q), (*q.shape[:-1], k.shape[-2])
    mask = check_mask(mask, full)
    left, right = sides_of(window)
    right = 0 if check_causal(causal) else right
    scale, softcap, sinks = check_scale(scale, q.shape[-1]), check_softcap(softcap), check_sinks(sinks, full[-3], q.dtype)
    options = exact.Options(mask, left, right, scale, softcap, learned=False)
    reached = embedding[: full[-1] + 1]  # no query counts beyond the keys that it sees
    return exact.attention_with_lse(q, k, v, None, None, sinks, options, None, reached)[0]
