"""Contextual positions (CoPE) in the exact kernel: each query's gates are summed tile by tile, from the last key it sees on."""

from __future__ import annotations

import math

import numpy as np

from tinyattn.kernels.exact import primitive as exact
from tinyattn.kernels.tiles.seen import seen_edges, sides_of
from tinyattn.ops.arguments import check_embedding
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.options import Window, check_causal, check_mask, check_scale, check_sinks, check_softcap
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array

# Bytes of the tables of one block of queries, and the fewest queries of a block: whole tiles, enough of them for several threads.
TABLES, LEAST = 1 << 25, 256


@shapes("(i,d),(j,d),(j,e)->(i,e)")
def contextual_position_attention(q: Array, k: Array, v: Array, *, embedding: Array, causal: bool = True,
                                  mask: Array | Pattern | None = None, window: Window | None = None, scale: float | None = None,
                                  softcap: float | None = None, sinks: Array | None = None) -> Array:
    """Returns attention with a bias by the number of tokens that each query's gates select; compiled.

    Formula: s_ij = cap(scale q_i . k_j) + q_i . e[p_ij], p_ij the sum of the gates from key j on. q_i . e[n] is computed for every
    position n first: memory grows with i times positions, not with i times j.

    Shapes: q (..., heads, i, d), k (..., kv_heads, j, d), v (..., kv_heads, j, e), embedding (positions, d) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.contextual_position_attention`.

    Paper: Golovneva et al. 2024, arXiv:2405.18719.

    >>> q, k, v = np.zeros((2, 1)), np.zeros((2, 1)), np.array([[1.0], [3.0]])
    >>> contextual_position_attention(q, k, v, embedding=np.ones((3, 1)))[:, 0]
    array([1., 2.])
    """
    embedding, full = check_embedding(embedding, q), (*q.shape[:-1], k.shape[-2])
    scale, softcap, sinks = check_scale(scale, q.shape[-1]), check_softcap(softcap), check_sinks(sinks, full[-3], q.dtype)
    mask = check_mask(mask, full)
    left, right = sides_of(window)
    right = 0 if check_causal(causal) else right
    if not np.isfinite(q.sum()):
        sees, _ = seen_edges(mask, left, right, full, k.shape[-3])
        q = np.where(sees[..., None], q, 0.0)  # a query without a key may hold NaN
    options, outs = exact.Options(mask, left, right, scale, softcap, learned=False), []
    q_len, kv_len = full[-2:]
    for start, stop in blocks_of(full, len(embedding) * q.dtype.itemsize, right):
        last = min(kv_len, kv_len - q_len + stop) if right == 0 else kv_len
        some, seen = q[..., start:stop, :], mask
        if isinstance(mask, np.ndarray) and mask.ndim:
            rows = mask[..., start:stop, :] if mask.ndim > 1 and mask.shape[-2] > 1 else mask
            seen = rows[..., :last] if mask.shape[-1] > 1 else rows
        table = some @ embedding[: last + 1].T  # no query counts beyond the keys that it sees
        outs.append(exact.attention_with_lse(some, k[..., :last, :], v[..., :last, :], None, None, sinks, options._replace(mask=seen),
                                             None, table)[0])
    return outs[0] if len(outs) == 1 else np.concatenate(outs, axis=-2)


def blocks_of(full: tuple[int, ...], row_bytes: int, right: int | None) -> list[tuple[int, int]]:
    """Returns the blocks of queries, (start, stop), that are computed one after the other: causal ones with large tables.

    The queries of a block reach no position behind its own last one, so that half of all products with the positions are left out.

    >>> blocks_of((1, 8, 600, 600), 1 << 14, 0), blocks_of((1, 8, 600, 600), 1 << 14, None)
    ([(0, 256), (256, 512), (512, 600)], [(0, 600)])
    """
    q_len, kv_len = full[-2:]
    if right != 0 or q_len > kv_len or math.prod(full[:-1]) * row_bytes <= TABLES:
        return [(0, q_len)]
    step = max(LEAST, TABLES // max(1, math.prod(full[:-2]) * row_bytes) // LEAST * LEAST)
    return [(start, min(start + step, q_len)) for start in range(0, q_len, step)]
