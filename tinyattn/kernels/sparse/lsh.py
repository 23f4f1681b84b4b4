"""LSH attention: tokens sorted by a hash, the exact kernel on the tiles of their chunks, and the hashes merged."""

from __future__ import annotations

from functools import lru_cache, reduce
from typing import Any

import numpy as np

from tinyattn.kernels.softmax.dot_product import attention_with_lse
from tinyattn.kernels.tiles.listed import Constant
from tinyattn.kernels.tiles.rows import in_order, merged
from tinyattn.ops.arguments import SELF, check_rotations
from tinyattn.ops.checks import whole
from tinyattn.ops.masks.pattern import Pattern
from tinyattn.ops.merge import Partial
from tinyattn.ops.norm import unit
from tinyattn.ops.options import check_causal, check_scale
from tinyattn.ops.score_rule import ScoreRule
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
    parts = (one_hash(qk, keys, v, buckets_of(qk @ rotation), size, is_causal, scale) for rotation in rotations)
    return reduce(lambda a, b: merged(*a, *b), parts)[0]


def buckets_of(side: Array) -> Array:
    """Returns the bucket of each token from its products with the directions of a hash."""
    return np.argmax(np.concatenate((side, -side), axis=-1), axis=-1)


def one_hash(q: Array, k: Array, v: Array, bucket: Array, chunk: int, is_causal: bool, scale: float) -> Partial:
    """Returns (out, lse) of one hash: a token sees those of its bucket in its chunk of sorted tokens and in the one before.

    Sorted by bucket, then by position, the tokens of a bucket stand next to each other, the earlier ones first: what a token
    sees is a range of places, and a token sees no later place where it sees no later token.
    """
    order = np.argsort(bucket, axis=-1, kind="stable")
    edges = (edge[..., None].astype(q.dtype) for edge in ends_of_runs(np.take_along_axis(bucket, order, axis=-1)))
    out, lse = attention_with_lse(*(in_order(x, order) for x in (q, k, v)), mask=own_and_before(chunk), causal=is_causal, scale=scale,
                                  score=ScoreRule(within_bucket, *edges))
    back = np.empty_like(order)
    np.put_along_axis(back, order, np.arange(order.shape[-1]), axis=-1)
    return in_order(out, back), in_order(lse[..., None], back)[..., 0]


def within_bucket(s: Array, i: Array, j: Array, first: Array, last: Array) -> Array:
    """Returns the scores, -inf outside of the range of places that are a token's bucket; its own score is far lower."""
    return np.where((j >= first) & (j <= last), np.where(i == j, s - SELF, s), -np.inf)


def ends_of_runs(sorted_numbers: Array) -> tuple[Array, Array]:
    """Returns for each entry of (..., length) the first and the last place of the equal numbers that it stands among."""
    places = np.arange(sorted_numbers.shape[-1])
    differs = sorted_numbers[..., 1:] != sorted_numbers[..., :-1]
    edge = np.ones((*sorted_numbers.shape[:-1], 1), bool)
    first = np.where(np.concatenate((edge, differs), axis=-1), places, 0)
    last = np.where(np.concatenate((differs, edge), axis=-1), places, places[-1])
    return np.maximum.accumulate(first, axis=-1), np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]


@lru_cache(maxsize=16)
def own_and_before(chunk: int) -> Pattern:
    """Returns whether the key stands in the query's chunk or in the one before."""
    def corners(i0: Array, i1: Array, j0: Array, j1: Array) -> tuple[Any, Any]:
        i0, i1, j0, j1 = (x // chunk for x in (i0, i1, j0, j1))
        return (j1 >= i0 - 1) & (j0 <= i1), (j0 >= i1 - 1) & (j1 <= i0)

    return Constant(Pattern(lambda i, j: (j // chunk <= i // chunk) & (j // chunk >= i // chunk - 1), corners=corners))
