"""LSH attention: tokens sorted by a hash, the exact kernel on chunks of them, and the hashes merged."""

from __future__ import annotations

from functools import reduce

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention_with_lse
from tinyattn.kernels.tiles.rows import in_order, merged
from tinyattn.ops.arguments import SELF, check_rotations
from tinyattn.ops.checks import whole
from tinyattn.ops.merge import Partial
from tinyattn.ops.norm import unit
from tinyattn.ops.options import check_causal, check_scale
from tinyattn.ops.signature import shapes
from tinyattn.ops.types import Array


@shapes("(i,d),(i,e)->(i,e)")
def lsh_attention(qk: Array, v: Array, *, rotations: Array, chunk: int, causal: bool = False, scale: float | None = None) -> Array:
    """Returns attention within buckets of similar tokens: the keys are the queries at length 1; compiled.

    Shapes: qk (..., heads, i, d), v (..., heads, i, e) -> (..., heads, i, e).

    Options and errors are those of `tinyattn.definitions.lsh_attention`.

    Paper: Kitaev et al. 2020, arXiv:2001.04451.

    >>> x = np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
    >>> lsh_attention(x, x, rotations=np.array([[[1.0], [0.0]]]), chunk=4)[:, 0]
    array([ 2.,  1., -1.])
    """
    chunk, scale, is_causal = whole("chunk", chunk, 1), check_scale(scale, qk.shape[-1]), check_causal(causal)
    rotations = check_rotations(rotations, qk)
    if not qk.shape[-2]:
        return v
    keys, size = unit(qk), min(chunk, qk.shape[-2])
    parts = [one_hash(qk, keys, v, buckets_of(qk @ rotation), size, is_causal, scale) for rotation in rotations]
    return reduce(lambda a, b: merged(*a, *b), parts)[0]


def buckets_of(side: Array) -> Array:
    """Returns the bucket of each token from its products with the directions of a hash."""
    return np.argmax(np.concatenate((side, -side), axis=-1), axis=-1)


def one_hash(q: Array, k: Array, v: Array, bucket: Array, chunk: int, is_causal: bool, scale: float) -> Partial:
    """Returns (out, lse) of one hash: a token sees those of its bucket in its chunk of sorted tokens and in the one before."""
    order = np.argsort(bucket, axis=-1, kind="stable")
    length = order.shape[-1]
    missing = -length % chunk  # the last chunk is filled up with tokens at position -1, which nobody sees
    places, buckets = (np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)], constant_values=-1)
                       for x in (order, np.take_along_axis(bucket, order, axis=-1)))

    def chunks(x: Array) -> Array:
        """(..., chunks, chunk, width) of rows in sorted order."""
        rows = in_order(x, order)
        if missing:
            rows = np.concatenate((rows, np.zeros((*x.shape[:-2], missing, x.shape[-1]), x.dtype)), axis=-2)
        return rows.reshape(*x.shape[:-2], (length + missing) // chunk, chunk, x.shape[-1])

    place, kind = (x.reshape(*x.shape[:-1], -1, chunk) for x in (places, buckets))
    near, near_kind = (with_chunk_before(x[..., None])[..., 0] for x in (place, kind))
    seen = (near_kind[..., None, :] == kind[..., None]) & (near[..., None, :] >= 0) & (place[..., None] >= 0)
    if is_causal:
        seen = seen & (near[..., None, :] <= place[..., None])
    itself = np.where(near[..., None, :] == place[..., None], -SELF, 0.0).astype(q.dtype)
    keys, values = (with_chunk_before(chunks(x)) for x in (k, v))
    out, lse = attention_with_lse(chunks(q), keys, values, mask=seen, bias=itself, scale=scale)
    back = np.argsort(order, axis=-1)
    out, lse = (x.reshape(*v.shape[:-2], length + missing, width)[..., :length, :] for x, width in ((out, v.shape[-1]), (lse, 1)))
    return in_order(out, back), in_order(lse, back)[..., 0]


def with_chunk_before(x: Array) -> Array:
    """Returns each chunk of (..., chunks, chunk, width) behind the one before it, the first behind one of -1."""
    first = np.full((*x.shape[:-3], 1, *x.shape[-2:]), -1, x.dtype)
    return np.concatenate((np.concatenate((first, x[..., :-1, :, :]), axis=-3), x), axis=-2)
