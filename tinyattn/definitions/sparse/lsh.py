"""LSH attention (Reformer): tokens are sorted by a hash, and see those that the hash brought near."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import whole
from tinyattn.ops.gates import check_gate
from tinyattn.ops.merge import merge
from tinyattn.ops.norm import unit
from tinyattn.ops.options import check_causal, check_scale
from tinyattn.ops.signature import floating, shapes
from tinyattn.ops.softmax import exponentials, log_total, nonzero
from tinyattn.ops.types import Array

# Taken off a token's score with itself: it reads itself only where nothing else is near.
SELF = 1e5


@shapes("(i,d),(i,e)->(i,e)")
def lsh_attention(qk: Array, v: Array, *, rotations: Array, chunk: int, causal: bool = False, scale: float | None = None) -> Array:
    """Returns attention within buckets of similar tokens: the keys are the queries at length 1.

    Formula, for each hash: bucket(x) = argmax [x R ; -x R]; sorted by bucket, then position, and cut into chunks, a token
    sees those of its bucket in its chunk and the one before, itself at a score 1e5 lower; s_ij = scale q_i . q_j / |q_j|.
    The hashes' results are merged by their sums of exponentials; a pair that several hashes bring together counts as often.

    Shapes: qk (..., heads, i, d), v (..., heads, i, e) -> (..., heads, i, e).

    Args:
        qk: queries, and keys but for their length.
        v: values.
        rotations: (hashes, d, buckets // 2), from `lsh_rotations`.
        chunk: sorted tokens that are compared at once.
        causal: a query sees no later key.
        scale: None is d ** -0.5.

    Raises:
        TypeError, ValueError: rotations of another kind or shape, chunk below 1; otherwise as `attention`.

    Paper: Kitaev et al. 2020, arXiv:2001.04451.

    >>> x = np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]])
    >>> lsh_attention(x, x, rotations=np.array([[[1.0], [0.0]]]), chunk=4)[:, 0]
    array([ 2.,  1., -1.])
    """
    chunk, scale, is_causal = whole("chunk", chunk, 1), check_scale(scale, qk.shape[-1]), check_causal(causal)
    rotations = floating("rotations", rotations)
    if rotations.ndim != 3 or rotations.shape[1] != qk.shape[-1] or 0 in rotations.shape:
        raise ValueError(f"rotations: expected shape (hashes, {qk.shape[-1]}, buckets // 2), got shape {rotations.shape}")
    rotations = check_gate("rotations", rotations, rotations.shape, qk.dtype)
    if not qk.shape[-2]:
        return v
    rounds = [one_hash(qk, v, turned, chunk, is_causal, scale) for turned in rotations]
    merged = rounds[0]
    for other in rounds[1:]:
        merged = merge(merged, other)
    return merged[0]


def one_hash(qk: Array, v: Array, turned: Array, chunk: int, is_causal: bool, scale: float) -> tuple[Array, Array]:
    """Returns (out, lse) of one hash."""
    length, chunks = qk.shape[-2], max(1, -(-qk.shape[-2] // chunk))
    side = qk @ turned
    bucket = np.argmax(np.concatenate((side, -side), axis=-1), axis=-1)
    order = np.argsort(bucket, axis=-1, kind="stable")
    # Filled up to whole chunks with tokens that nobody sees: bucket -1, position -1.
    fill = [(0, 0)] * (order.ndim - 1) + [(0, chunks * chunk - length)]
    place = np.pad(order, fill, constant_values=-1).reshape(*order.shape[:-1], chunks, chunk)
    sorted_bucket = np.pad(np.take_along_axis(bucket, order, axis=-1), fill, constant_values=-1).reshape(place.shape)
    at = np.maximum(place, 0).reshape(*order.shape[:-1], chunks * chunk, 1)

    def in_chunks(x: Array) -> Array:
        picked = np.take_along_axis(x, np.broadcast_to(at, (*at.shape[:-1], x.shape[-1])), axis=-2)
        return picked.reshape(*place.shape, x.shape[-1])

    def and_before(x: Array, axis: int) -> Array:
        """Each chunk behind the one before it; the first behind one that nobody sees."""
        first = np.zeros_like(x[..., :1, :, :]) if axis == -2 else np.full_like(x[..., :1, :], -1)
        earlier = np.concatenate((first, x[..., :-1, :, :] if axis == -2 else x[..., :-1, :]), axis=axis - 1)
        return np.concatenate((earlier, x), axis=axis)

    queries = in_chunks(qk)
    keys, values = and_before(unit(queries), -2), and_before(in_chunks(v), -2)
    near, their_bucket = and_before(place, -1)[..., None, :], and_before(sorted_bucket, -1)[..., None, :]
    mine = place[..., None]
    seen = (their_bucket == sorted_bucket[..., None]) & (near >= 0) & (mine >= 0)
    if is_causal:
        seen = seen & (near <= mine)
    scores = (queries * scale) @ keys.mT - np.where(near == mine, SELF, 0.0).astype(qk.dtype)
    exps, total, shift = exponentials(np.where(seen, scores, -np.inf))
    out, lse = exps @ values / nonzero(total), log_total(total, shift)
    back = np.argsort(order, axis=-1)
    rows = out.reshape(*order.shape[:-1], chunks * chunk, v.shape[-1])
    return (np.take_along_axis(rows, np.broadcast_to(back[..., None], (*back.shape, v.shape[-1])), axis=-2),
            np.take_along_axis(lse.reshape(*order.shape[:-1], chunks * chunk), back, axis=-1))
