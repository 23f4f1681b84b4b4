"""Small oracles that many laws share: a mechanism with fewer options, every query's own value, a softmax written out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.engine.tensor import Tensor
from tinyattn.laws.problem import Mechanism, repeat_heads, scale_of
from tinyattn.ops.types import Array


def taking(mechanism: Mechanism, *names: str, **given: Any) -> Mechanism:
    """Returns the mechanism called with only these options of a problem, and with those given.

    >>> from tinyattn.definitions import attention
    >>> causal = taking(attention, "scale", causal=True)
    >>> causal(np.ones((1, 1)), np.ones((1, 1)), np.ones((1, 1)), window=(1, 1), scale=2.0)
    array([[1.]])
    """
    def called(q: Array, k: Array, v: Array, **options: Any) -> Any:
        return mechanism(q, k, v, **{name: option for name, option in options.items() if name in names}, **given)

    return called


def own_values(q: Array, k: Array, v: Array, **options: Any) -> Array:
    """Returns the value at each query's own position, the last queries aligned with the last keys."""
    return repeat_heads(q, v)[0][..., k.shape[-2] - q.shape[-2] :, :]


def restored(parts: list[Array], order: Array) -> Array:
    """Returns rows that were computed in parts and in another order, put back in their own."""
    return np.concatenate(parts, axis=-2)[..., np.argsort(order), :]


def behind(q: Array, k: Array) -> Array:
    """Returns how far key j is behind query i, (i, j), the last query aligned with the last key."""
    return np.arange(k.shape[-2] - q.shape[-2], k.shape[-2])[:, None] - np.arange(k.shape[-2])


def constant(x: Array) -> Array:
    """Returns the array of a Tensor, or the array itself: the gradient treats a choice as a constant."""
    return x.value if isinstance(x, Tensor) else x


def pairs(q: Array, k: Array) -> Array:
    """Returns q . k of every pair, as constants for the gradient."""
    products: Array = np.einsum("...id,...jd->...ij", constant(q), repeat_heads(q, constant(k))[0])
    return products


def softmax_of(scores: Array) -> Array:
    """Returns the softmax of scores over the last axis; each row has at least one finite score."""
    mass = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return mass / np.sum(mass, axis=-1, keepdims=True)


def written_out(q: Array, k: Array, v: Array, scale: float | None = None, bias: Array | None = None) -> Array:
    """Returns attention of every query to all keys, with the softmax written out."""
    k, v = repeat_heads(q, k, v)
    scores = np.einsum("...id,...jd->...ij", q, k) * scale_of(q, scale)
    return np.einsum("...ij,...je->...ie", softmax_of(scores if bias is None else scores + bias), v)
