"""What is drawn at random beside a mechanism, which itself draws nothing: directions of hashes and of random features."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import check_rng, whole
from tinyattn.ops.types import Array


def lsh_rotations(rng: np.random.Generator, hashes: int, head_dim: int, buckets: int) -> Array:
    """Returns directions (hashes, head_dim, buckets // 2) that tell an even number of buckets apart.

    >>> lsh_rotations(np.random.default_rng(0), 2, 4, 6).shape
    (2, 4, 3)
    """
    check_rng(rng)
    hashes, head_dim, buckets = whole("hashes", hashes, 1), whole("head_dim", head_dim, 1), whole("buckets", buckets, 2)
    if buckets % 2:
        raise ValueError(f"buckets: expected an even number, got {buckets}")
    return rng.standard_normal((hashes, head_dim, buckets // 2))


def performer_projection(rng: np.random.Generator, features: int, head_dim: int) -> Array:
    """Returns directions (features, head_dim) for `performer_features`: at right angles within each block of head_dim.

    Each direction is as long as a normal vector would be, so that it alone is one. arXiv:2009.14794.

    >>> projection = performer_projection(np.random.default_rng(0), 3, 3)
    >>> bool(abs(projection[0] @ projection[1]) < 1e-12)
    True
    """
    check_rng(rng)
    features, head_dim = whole("features", features, 1), whole("head_dim", head_dim, 1)
    blocks = [right_angles(rng.standard_normal((head_dim, head_dim))) for _ in range(-(-features // head_dim))]
    lengths = np.linalg.norm(rng.standard_normal((features, head_dim)), axis=-1, keepdims=True)
    directions: Array = np.concatenate(blocks)[:features] * lengths
    return directions


def right_angles(normal: Array) -> Array:
    """Returns directions at right angles, each as likely as any other: the rows of an orthogonal matrix.

    QR chooses signs of its own (it begins with a negative number, always); the signs of its diagonal undo that. Without
    this a product of features is not exp(q . k) on average.
    """
    directions, triangle = np.linalg.qr(normal)
    rows: Array = (directions * np.sign(np.diag(triangle))).T
    return rows
