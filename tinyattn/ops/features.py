"""Feature maps of linear attention: what stands in the place of exp(q . k)."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.activation import relu
from tinyattn.ops.checks import has_axes, index_array, whole
from tinyattn.ops.options import check_broadcast
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


@widened
def elu_plus_one(x: Array) -> Array:
    """Returns x + 1 above 0 and exp(x) below: positive, with value 1 and slope 1 at 0. arXiv:2006.16236.

    >>> elu_plus_one(np.array([-1e4, 0.0, 2.0]))
    array([0., 1., 3.])
    """
    x = floating("x", x)
    above = x > 0
    with np.errstate(under="ignore"):
        # Both branches are computed: exp only sees what is not above 0.
        return np.where(above, x + 1.0, np.exp(np.where(above, 0.0, x)))


@widened
def relu_features(x: Array) -> Array:
    """Returns max(x, 0).

    >>> relu_features(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return relu(x)


@widened
def taylor_features(x: Array) -> Array:
    """Returns [1, y, y y^T / sqrt(2)], y = x d^(-1/4): products of features are 1 + s + s^2 / 2 of s = q . k / sqrt(d).

    x (..., d) -> (..., 1 + d + d^2); all weights are at least one half. arXiv:2402.18668.

    >>> float(taylor_features(np.array([1.0])) @ taylor_features(np.array([2.0])))
    5.0
    """
    x = floating("x", x)
    x = x * wide("x", x) ** -0.25
    squares = (x[..., :, None] * x[..., None, :]).reshape(*x.shape[:-1], x.shape[-1] ** 2) * 0.5 ** 0.5
    return np.concatenate((np.ones_like(x[..., :1]), x, squares), axis=-1)


@widened
def cosformer_features(x: Array, positions: Array, max_length: int) -> Array:
    """Returns max(x, 0) times the cosine and the sine of pi p / (2 max_length): products fall with the distance.

    x (..., length, d), integer positions broadcastable to x.shape[:-1] -> (..., length, 2 d). A product of features is
    max(q, 0) . max(k, 0) cos(pi (i - j) / (2 max_length)), at least 0 for tokens at most max_length apart. max_length is
    fixed, not the length of today's text, so that what is cached stays right. arXiv:2202.08791.

    >>> cosformer_features(np.array([[2.0], [-1.0]]), np.array([0, 1]), 2)
    array([[2., 0.],
           [0., 0.]])
    """
    x = floating("x", x)
    has_axes("x", x, 2)
    positions = index_array("positions", positions)
    check_broadcast("positions", positions.shape, x.shape[:-1], "(..., length)")
    angles = np.pi / 2 / whole("max_length", max_length, 1) * positions[..., None]
    positive = relu_features(x)
    return np.concatenate((positive * np.cos(angles).astype(x.dtype), positive * np.sin(angles).astype(x.dtype)), axis=-1)


@widened
def performer_features(x: Array, *, projection: Array) -> Array:
    """Returns exp(W y - |y|^2 / 2) / sqrt(features), y = x d^(-1/4): on average a product is exp(q . k / sqrt(d)).

    x (..., d), projection W (features, d), `performer_projection`'s say -> (..., features). No maximum is taken off, as it
    would let later keys change earlier rows. arXiv:2009.14794.

    >>> performer_features(np.zeros((1, 2)), projection=np.ones((4, 2)))
    array([[0.5, 0.5, 0.5, 0.5]])
    """
    x, projection = floating("x", x), floating("projection", projection)
    if projection.ndim != 2 or projection.shape[-1] != wide("x", x) or not projection.shape[0]:
        raise ValueError(f"projection: expected shape (features, {x.shape[-1]}), got shape {projection.shape}")
    x = x * x.shape[-1] ** -0.25
    exponents = x @ projection.T.astype(x.dtype) - np.sum(x * x, axis=-1, keepdims=True) * 0.5
    return np.exp(exponents) * projection.shape[0] ** -0.5


def wide(name: str, x: Array) -> int:
    """Returns the number of channels, 1 or more."""
    channels = has_axes(name, x, 1)[-1]
    if not channels:
        raise ValueError(f"{name}: expected at least one channel, got shape {x.shape}")
    return channels
