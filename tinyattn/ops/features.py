"""Feature maps of linear attention: f(q) . f(k) replaces exp(q . k)."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.activation import relu
from tinyattn.ops.checks import check_broadcast, has_axes, index_array, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.storage import widened
from tinyattn.ops.types import Array


@widened
def elu_plus_one(x: Array) -> Array:
    """Returns x + 1 where x is above 0, otherwise exp(x): positive, with value 1 and slope 1 at 0. arXiv:2006.16236.

    >>> elu_plus_one(np.array([-1e4, 0.0, 2.0]))
    array([0., 1., 3.])
    """
    x = floating("x", x)
    above = x > 0
    with np.errstate(under="ignore"):
        # np.where computes both branches, so exp gets only numbers that are not above 0.
        return np.where(above, x + 1.0, np.exp(np.where(above, 0.0, x)))


relu_features = relu


@widened
def taylor_features(x: Array) -> Array:
    """Returns [1, y, y y^T / sqrt(2)] with y = x d^(-1/4): f(q) . f(k) = 1 + s + s^2 / 2 with s = q . k / sqrt(d).

    x (..., d) -> (..., 1 + d + d^2). Every weight is at least one half. arXiv:2402.18668.

    >>> float(taylor_features(np.array([1.0])) @ taylor_features(np.array([2.0])))
    5.0
    """
    x = floating("x", x)
    x = x * channels("x", x) ** -0.25
    squares = (x[..., :, None] * x[..., None, :]).reshape(*x.shape[:-1], x.shape[-1] ** 2) * 0.5 ** 0.5
    return np.concatenate((np.ones_like(x[..., :1]), x, squares), axis=-1)


@widened
def cosformer_features(x: Array, positions: Array, max_length: int) -> Array:
    """Returns max(x, 0) times the cosine and the sine of pi p / (2 max_length): the weights fall with the distance.

    x (..., length, d), integer positions broadcastable to x.shape[:-1] -> (..., length, 2 d). f(q) . f(k) =
    max(q, 0) . max(k, 0) cos(pi (i - j) / (2 max_length)), which is 0 or more if the distance is at most max_length.
    max_length is a constant and not the length of the current text, so that cached features stay valid. arXiv:2202.08791.

    >>> cosformer_features(np.array([[2.0], [-1.0]]), np.array([0, 1]), 2)
    array([[2., 0.],
           [0., 0.]])
    """
    x = floating("x", x)
    has_axes("x", x, 2)
    positions = index_array("positions", positions)
    check_broadcast("positions", positions.shape, x.shape[:-1], "(..., length)")
    angles = np.pi / 2 / whole("max_length", max_length, 1) * positions[..., None]
    positive = relu(x)
    return np.concatenate((positive * np.cos(angles).astype(x.dtype), positive * np.sin(angles).astype(x.dtype)), axis=-1)


@widened
def performer_features(x: Array, *, projection: Array) -> Array:
    """Returns exp(W y - |y|^2 / 2) / sqrt(features) with y = x d^(-1/4): the mean of f(q) . f(k) is exp(q . k / sqrt(d)).

    x (..., d), projection W (features, d), such as `performer_projection` returns -> (..., features). No maximum is
    subtracted, because later keys would then change earlier rows. arXiv:2009.14794.

    >>> performer_features(np.zeros((1, 2)), projection=np.ones((4, 2)))
    array([[0.5, 0.5, 0.5, 0.5]])
    """
    x = floating("x", x)
    projection = check_projection(x, projection)
    x = x * x.shape[-1] ** -0.25
    exponents = x @ projection.T.astype(x.dtype) - np.sum(x * x, axis=-1, keepdims=True) * 0.5
    return np.exp(exponents) * projection.shape[0] ** -0.5


def check_projection(x: Array, projection: Array) -> Array:
    """Returns the directions of the Performer's features; TypeError or ValueError unless they are (features, d) for x (..., d)."""
    projection = floating("projection", projection)
    if projection.ndim != 2 or projection.shape[-1] != channels("x", x) or not projection.shape[0]:
        raise ValueError(f"projection: expected shape (features, {x.shape[-1]}), got shape {projection.shape}")
    return projection


def channels(name: str, x: Array) -> int:
    """Returns the number of channels; raises ValueError if it is 0."""
    width = has_axes(name, x, 1)[-1]
    if not width:
        raise ValueError(f"{name}: expected at least one channel, got shape {x.shape}")
    return width
