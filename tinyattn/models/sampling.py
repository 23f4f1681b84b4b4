"""The choice of the next token from its logits."""

from __future__ import annotations

import numpy as np

from tinyattn.ops.checks import has_axes, real, whole
from tinyattn.ops.signature import floating
from tinyattn.ops.types import Array


def sample(logits: Array, rng: np.random.Generator | None, *, temperature: float = 1.0, top_k: int | None = None,
           top_p: float | None = None) -> Array:
    """Returns one token per row: the likeliest at temperature 0, else one drawn with `probabilities`.

    One uniform number per row comes from `rng`. logits (..., vocab) -> (...) int64.

    Raises:
        TypeError: no Generator where one is needed. ValueError: as `probabilities`.

    >>> sample(np.array([[0.0, 3.0, 1.0]]), None, temperature=0.0)
    array([1])
    """
    check_options(temperature, top_k, top_p)
    if temperature == 0.0:
        return np.argmax(check_logits(logits), axis=-1)
    return draw(probabilities(logits, temperature=temperature, top_k=top_k, top_p=top_p), rng)


def probabilities(logits: Array, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> Array:
    """Returns softmax(logits / temperature) in float64; at temperature 0 the likeliest token has probability 1.

    `top_k` keeps the k likeliest tokens (of equal ones the lower indices), `top_p` the fewest whose probabilities reach p.
    logits (..., vocab) -> (..., vocab).

    Raises:
        TypeError: logits that are not a floating array, options that are not numbers. ValueError: options out of range, NaN or
            +inf among the logits, a row of -inf.

    >>> probabilities(np.log(np.array([0.2, 0.6, 0.2])), top_k=2)
    array([0.25, 0.75, 0.  ])
    """
    check_options(temperature, top_k, top_p)
    wide = check_logits(logits)
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
    """Returns one token per row, drawn with these probabilities (..., vocab), never one of probability 0.

    Raises:
        TypeError: no Generator, shares that are not a floating array. ValueError: shares that are negative, NaN or inf, or
            all 0.

    >>> draw(np.array([[0.0, 1.0, 0.0]]), np.random.default_rng(0))
    array([1])
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a np.random.Generator, got {type(rng).__name__}")
    share = floating("share", share)
    if not isinstance(share, np.ndarray):
        raise TypeError(f"share: expected an array, as drawing has no gradient; got {type(share).__name__}")
    if not has_axes("share", share, 1)[-1]:
        raise ValueError(f"share: expected (..., vocab) with a vocab of 1 or more, got shape {share.shape}")
    edges = np.cumsum(share, axis=-1)
    if not ((share.min(axis=-1) >= 0.0) & (edges[..., -1] > 0.0) & (edges[..., -1] < np.inf)).all():
        raise ValueError("share: expected finite probabilities of 0 or more, not all of them 0")
    place = (edges <= rng.random(share.shape[:-1])[..., None] * edges[..., -1:]).sum(axis=-1)
    last = share.shape[-1] - 1 - np.argmax(share[..., ::-1] > 0, axis=-1)
    return np.minimum(place, last)


def check_options(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises TypeError for options that are not numbers, ValueError for options out of range."""
    real("temperature", temperature, least=0.0)
    if top_k is not None:
        whole("top_k", top_k, 1)
    if top_p is not None and not 0.0 < real("top_p", top_p) <= 1.0:
        raise ValueError(f"top_p: expected a number above 0 and up to 1, got {top_p}")


def check_drawing(rng: np.random.Generator | None, temperature: float) -> None:
    """Raises TypeError without a Generator above temperature 0."""
    if temperature != 0.0 and not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a np.random.Generator above temperature 0, got {type(rng).__name__}")


def check_logits(logits: Array) -> Array:
    """Returns the logits in float64.

    The logits of a model whose numbers overflowed are +inf, and the greedy choice would be the same token for ever.

    Raises:
        TypeError: an object that is not a floating array. ValueError: NaN or +inf, a row of -inf, no axis or no tokens.
    """
    if not isinstance(floating("logits", logits), np.ndarray):
        raise TypeError(f"logits: expected an array, as choosing has no gradient; got {type(logits).__name__}")
    if not logits.ndim or not logits.shape[-1]:
        raise ValueError(f"logits: expected a last axis of at least one token, got shape {logits.shape}")
    wide: Array = logits.astype(np.float64)
    top = wide.max(axis=-1)
    if not ((top > -np.inf) & (top < np.inf)).all():
        raise ValueError("logits: NaN; the model's parameters or inputs are broken" if np.isnan(top).any() else
                         "logits: +inf; the model's numbers overflowed" if (top == np.inf).any() else
                         "logits: a row of -inf leaves nothing to choose")
    return wide
