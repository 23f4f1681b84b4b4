"""Choosing the next token from its logits."""

from __future__ import annotations

import math

import numpy as np

from tinyattn.ops.types import Array


def sample(logits: Array, rng: np.random.Generator | None, *, temperature: float = 1.0, top_k: int | None = None,
           top_p: float | None = None) -> Array:
    """Returns one token a row: the likeliest at temperature 0, else drawn from softmax(logits / temperature).

    `top_k` keeps the k likeliest (the lower index of equals), `top_p` the fewest whose probability reaches p. One
    uniform number a row is drawn from `rng`. logits (..., vocab) -> (...) int64.

    Raises:
        TypeError: no Generator where one is needed. ValueError: options out of range, NaN logits, a row of -inf.

    >>> sample(np.array([[0.0, 3.0, 1.0]]), None, temperature=0.0)
    array([1])
    """
    if not (math.isfinite(temperature) and temperature >= 0.0):
        raise ValueError(f"temperature: expected a finite number of 0 or more, got {temperature}")
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise ValueError(f"top_k: expected an int of 1 or more, got {top_k}")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p: expected a number above 0 and up to 1, got {top_p}")
    top = logits.max(axis=-1)
    if not (top > -np.inf).all():
        raise ValueError("logits: NaN; the model's parameters or inputs are broken" if np.isnan(top).any() else
                         "logits: a row of -inf has nothing to choose")
    if temperature == 0.0:
        return np.argmax(logits, axis=-1)
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a np.random.Generator, got {type(rng).__name__}")
    order = np.argsort(-logits, axis=-1, kind="stable")
    ranked = np.take_along_axis(logits.astype(np.float64), order, axis=-1)
    with np.errstate(under="ignore", over="ignore"):
        mass = np.exp((ranked - ranked[..., :1]) / temperature)
    if top_k is not None:
        mass[..., top_k:] = 0.0
    mass = mass / mass.sum(axis=-1, keepdims=True)
    if top_p is not None:
        before = np.cumsum(mass, axis=-1) - mass
        mass = np.where(before < top_p, mass, 0.0)
    edges = np.cumsum(mass, axis=-1)
    drawn = rng.random(logits.shape[:-1])[..., None] * edges[..., -1:]
    place = np.minimum((edges <= drawn).sum(axis=-1, keepdims=True), (mass > 0).sum(axis=-1, keepdims=True) - 1)
    return np.take_along_axis(order, place, axis=-1)[..., 0]
