"""One number that says whether a gradient is right: the slope along a random direction, computed twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinyattn.engine.grad import vjp
from tinyattn.engine.tree import differentiable, leaves, map_tree


def directional(f: Callable[[Any], Any], x: Any, rng: np.random.Generator, *, step: float = 1e-6) -> tuple[float, float]:
    """Returns v . (J u) twice, by the gradient and by a central difference, for the Jacobian J of f at x and random u, v.

    x is a tree of float64 arrays, f returns an array. The two differ by about step ** 2 times the third derivative.

    >>> analytic, numeric = directional(np.exp, np.array([0.0, 1.0]), np.random.default_rng(0))
    >>> abs(analytic - numeric) < 1e-8
    True
    """
    u = map_tree(lambda leaf: np.asarray(rng.standard_normal(leaf.shape)) if differentiable(leaf) else leaf, x)

    def shifted(by: float) -> Any:
        return map_tree(lambda leaf, d: np.asarray(leaf + by * d) if differentiable(leaf) else leaf, x, u)

    out, pullback = vjp(f, x)
    v = np.asarray(rng.standard_normal(np.shape(out)))
    gradient = pullback(v)
    analytic = sum(float(np.sum(g * d)) for g, d in zip(leaves(gradient), leaves(u), strict=True) if differentiable(g))
    numeric = np.sum(v * (np.asarray(f(shifted(step))) - np.asarray(f(shifted(-step))))) / (2.0 * step)
    return analytic, float(numeric)
