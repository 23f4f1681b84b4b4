"""Random matrices that mechanisms take as arguments: the directions of hashes and of random features."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import check_rng, whole
from tinyattn.ops.types import Array


def lsh_rotations(rng: np.random.Generator, hashes: int, head_dim: int, buckets: int) -> Array:
    """Returns random directions (hashes, head_dim, buckets // 2), which hash vectors into an even number of buckets.

    >>> lsh_rotations(np.random.default_rng(0), 2, 4, 6).shape
    (2, 4, 3)
    """
    check_rng(rng)
    hashes, head_dim, buckets = whole("hashes", hashes, 1), whole("head_dim", head_dim, 1), whole("buckets", buckets, 2)
    if buckets % 2:
        raise ValueError(f"buckets: expected an even number, got {buckets}")
    return rng.standard_normal((hashes, head_dim, buckets // 2))


def performer_projection(rng: np.random.Generator, features: int, head_dim: int) -> Array:
    """Returns random directions (features, head_dim) for `performer_features`, orthogonal within each block of head_dim.

    The lengths are drawn so that each single direction is normally distributed. arXiv:2009.14794.

    >>> projection = performer_projection(np.random.default_rng(0), 3, 3)
    >>> bool(abs(projection[0] @ projection[1]) < 1e-12)
    True
    """
    check_rng(rng)
    features, head_dim = whole("features", features, 1), whole("head_dim", head_dim, 1)
    blocks = [orthogonal(rng.standard_normal((head_dim, head_dim))) for _ in range(-(-features // head_dim))]
    lengths = np.linalg.norm(rng.standard_normal((features, head_dim)), axis=-1, keepdims=True)
    directions: Array = np.concatenate(blocks)[:features] * lengths
    return directions


def orthogonal(normal: Array) -> Array:
    """Returns a uniformly distributed orthogonal matrix, made from a matrix of normal numbers.

    The signs that QR chooses are not random (the first number is always negative), so they are replaced by the signs of the
    diagonal. Without this, the mean of a product of features is not exp(q . k).
    """
    directions, triangle = np.linalg.qr(normal)
    rows: Array = (directions * np.sign(np.diag(triangle))).T
    return rows
