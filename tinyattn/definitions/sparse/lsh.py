"""LSH attention (Reformer): tokens are sorted by a hash and attend to the tokens nearby in that order."""

from __future__ import annotations

from functools import reduce

import numpy as np

from tinyattn.definitions.softmax.lse import attention_with_lse
from tinyattn.ops.arguments import SELF, check_rotations
from tinyattn.ops.checks import whole
from tinyattn.ops.merge import merge
from tinyattn.ops.norm import unit
from tinyattn.ops.options import check_causal, check_scale
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(i,e)->(i,e)")
def lsh_attention(qk: Array, v: Array, *, rotations: Array, chunk: int, causal: bool = False, scale: float | None = None) -> Array:
    """Returns attention within buckets of similar tokens, in which the keys are the queries scaled to length 1.

    Formula, for each hash: bucket(x) = argmax [x R ; -x R]; tokens are sorted by bucket, then by position, and cut into chunks.
    A token sees the tokens of its bucket in its own chunk and the one before; s_ij = scale q_i . q_j / |q_j|, s_ii 1e5 less.
    All hashes are merged by their sums of exponentials, so that a pair counts once for each hash that brings it together.

    Shapes: qk (..., heads, i, d), v (..., heads, i, e) -> (..., heads, i, e).

    Args:
        qk: the queries, which also give the keys.
        v: values.
        rotations: (hashes, d, buckets // 2), from `lsh_rotations`.
        chunk: sorted tokens per chunk.
        causal: a query sees no later key.
        scale: None is d ** -0.5.

    Raises:
        TypeError, ValueError: rotations that are not floating or of another shape, chunk below 1; otherwise as `attention`.

    Paper: Kitaev et al. 2020, arXiv:2001.04451.

    >>> x = np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
    >>> lsh_attention(x, x, rotations=np.array([[[1.0], [0.0]]]), chunk=4)[:, 0]
    array([ 2.,  1., -1.])
    """
    chunk, scale, is_causal = whole("chunk", chunk, 1), check_scale(scale, qk.shape[-1]), check_causal(causal)
    rotations = check_rotations(rotations, qk)
    if not qk.shape[-2]:
        return v
    chunk = min(chunk, qk.shape[-2])
    return reduce(merge, (one_hash(qk, v, rotation, chunk, is_causal, scale) for rotation in rotations))[0]


def one_hash(qk: Array, v: Array, rotation: Array, chunk: int, is_causal: bool, scale: float) -> tuple[Array, Array]:
    """Returns (out, lse) of one hash: assign buckets, sort by bucket, cut into chunks, attend, undo the sorting."""
    side = qk @ rotation
    bucket = np.argmax(np.concatenate((side, -side), axis=-1), axis=-1)
    order = np.argsort(bucket, axis=-1, kind="stable")
    missing = -qk.shape[-2] % chunk  # padding at position -1, which no query sees, fills the last chunk
    place = np.pad(order, [(0, 0)] * (order.ndim - 1) + [(0, missing)], constant_values=-1)
    cut = (*order.shape[:-1], place.shape[-1] // chunk, chunk)
    queries, values, buckets = (rows_at(x, np.maximum(place, 0)).reshape(*cut, x.shape[-1]) for x in (qk, v, bucket[..., None]))
    places = place.reshape(*cut, 1)

    keys, values, near_buckets, near = (with_chunk_before(x) for x in (unit(queries), values, buckets, places))
    seen = (near_buckets.mT == buckets) & (near.mT >= 0) & (places >= 0)
    if is_causal:
        seen = seen & (near.mT <= places)
    itself = np.where(near.mT == places, -SELF, 0.0).astype(qk.dtype)
    out, lse = attention_with_lse(queries, keys, values, mask=seen, bias=itself, scale=scale)

    back = np.argsort(order, axis=-1)
    out, lse = out.reshape(*place.shape, v.shape[-1]), lse.reshape(*place.shape, 1)
    return rows_at(out, back), rows_at(lse, back)[..., 0]


def rows_at(x: Array, index: Array) -> Array:
    """Returns the rows of x (..., length, width) at the indices (..., count): (..., count, width)."""
    return np.take_along_axis(x, np.broadcast_to(index[..., None], (*index.shape, x.shape[-1])), axis=-2)


def with_chunk_before(x: Array) -> Array:
    """Returns (..., chunks, 2 chunk, width): each chunk preceded by the one before it, the first one by a chunk of -1."""
    first = np.full((*x.shape[:-3], 1, *x.shape[-2:]), -1, x.dtype)
    return np.concatenate((np.concatenate((first, x[..., :-1, :, :]), axis=-3), x), axis=-2)
