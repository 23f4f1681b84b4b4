"""Choosing the next token from its logits."""

from __future__ import annotations

import math

import numpy as np

from tinyattn.ops.types import Array


def sample(logits: Array, rng: np.random.Generator | None, *, temperature: float = 1.0, top_k: int | None = None,
           top_p: float | None = None) -> Array:
    """Returns one token a row: the likeliest at temperature 0, else drawn from `probabilities`.

    One uniform number a row is drawn from `rng`. logits (..., vocab) -> (...) int64.

    Raises:
        TypeError: no Generator where one is needed. ValueError: as `probabilities`.

    >>> sample(np.array([[0.0, 3.0, 1.0]]), None, temperature=0.0)
    array([1])
    """
    if temperature == 0.0:
        check_options(temperature, top_k, top_p)
        check_logits(logits)
        return np.argmax(logits, axis=-1)
    return draw(probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p), rng)


def probabilities(logits: Array, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> Array:
    """Returns softmax(logits / temperature) in float64, all of it on the likeliest token at temperature 0.

    `top_k` keeps the k likeliest (the lower index of equals), `top_p` the fewest whose probability reaches p.
    logits (..., vocab) -> (..., vocab).

    Raises:
        ValueError: options out of range, NaN logits, a row of -inf.

    >>> probabilities(np.log(np.array([0.2, 0.6, 0.2])), top_k=2)
    array([0.25, 0.75, 0.  ])
    """
    check_options(temperature, top_k, top_p)
    check_logits(logits)
    wide = logits.astype(np.float64)
    if temperature == 0.0:
        return (np.arange(wide.shape[-1]) == np.argmax(wide, axis=-1)[..., None]).astype(np.float64)
    with np.errstate(under="ignore", over="ignore"):
        mass = np.exp((wide - wide.max(axis=-1, keepdims=True)) / temperature)
    if top_k is not None or top_p is not None:
        order = np.argsort(-wide, axis=-1, kind="stable")
        ranked = np.take_along_axis(mass, order, axis=-1)
        if top_k is not None:
            ranked[..., top_k:] = 0.0
        if top_p is not None:
            share = ranked / ranked.sum(axis=-1, keepdims=True)
            ranked = np.where(np.cumsum(share, axis=-1) - share < top_p, ranked, 0.0)
        np.put_along_axis(mass, order, ranked, axis=-1)
    return mass / mass.sum(axis=-1, keepdims=True)


def draw(share: Array, rng: np.random.Generator | None) -> Array:
    """Returns one token a row, drawn with these probabilities (..., vocab): never one of probability 0.

    Raises:
        TypeError: no Generator.

    >>> draw(np.array([[0.0, 1.0, 0.0]]), np.random.default_rng(0))
    array([1])
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a np.random.Generator, got {type(rng).__name__}")
    edges = np.cumsum(share, axis=-1)
    place = (edges <= rng.random(share.shape[:-1])[..., None] * edges[..., -1:]).sum(axis=-1)
    last = share.shape[-1] - 1 - np.argmax(share[..., ::-1] > 0, axis=-1)
    return np.minimum(place, last)


def check_options(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises ValueError for options out of range."""
    if not (math.isfinite(temperature) and temperature >= 0.0):
        raise ValueError(f"temperature: expected a finite number of 0 or more, got {temperature}")
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise ValueError(f"top_k: expected an int of 1 or more, got {top_k}")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p: expected a number above 0 and up to 1, got {top_p}")


def check_logits(logits: Array) -> None:
    """Raises ValueError for NaN, and for a row of -inf."""
    top = logits.max(axis=-1)
    if not (top > -np.inf).all():
        raise ValueError("logits: NaN; the model's parameters or inputs are broken" if np.isnan(top).any() else
                         "logits: a row of -inf has nothing to choose")
