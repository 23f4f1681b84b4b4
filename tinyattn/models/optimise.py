"""AdamW, its learning rate over time, and the clipping of gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinyattn.engine.tree import differentiable, leaves, map_tree
from tinyattn.ops.types import Array


@dataclass(frozen=True, eq=False)
class AdamW:
    """Running means of the gradients and of their squares, in trees like the parameters, and the number of steps."""

    first: Any
    second: Any
    steps: int = 0

    @classmethod
    def create(cls, params: Any) -> AdamW:
        """Returns the state before any step."""
        def zeros(leaf: Any) -> Any:
            return np.zeros_like(leaf) if differentiable(leaf) else leaf
        return cls(map_tree(zeros, params), map_tree(zeros, params))


def update(params: Any, gradients: Any, state: AdamW, *, rate: float, decay: float = 0.1, beta1: float = 0.9,
           beta2: float = 0.95, epsilon: float = 1e-8) -> tuple[Any, AdamW]:
    """Returns (parameters, state) after one step of Adam with decoupled weight decay. arXiv:1711.05101.

    m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, p' = p - rate (m^ / (sqrt(v^) + epsilon) + decay p),
    m^ and v^ without their bias to 0. Vectors (norm weights) do not decay.

    >>> p, state = update(np.ones(1), np.ones(1), AdamW.create(np.ones(1)), rate=0.1)
    >>> float(p[0]) < 0.91
    True
    """
    steps = state.steps + 1
    unbias1, unbias2 = 1.0 - beta1 ** steps, 1.0 - beta2 ** steps
    first = map_tree(lambda m, g: beta1 * m + (1.0 - beta1) * g if differentiable(m) else m, state.first, gradients)
    second = map_tree(lambda v, g: beta2 * v + (1.0 - beta2) * (g * g) if differentiable(v) else v,
                      state.second, gradients)

    def move(p: Any, m: Any, v: Any) -> Any:
        if not differentiable(p):
            return p
        kept = p * (1.0 - rate * decay) if p.ndim > 1 else p
        return kept - (rate / unbias1) * m / (np.sqrt(v * (1.0 / unbias2)) + epsilon)

    with np.errstate(under="ignore"):
        return map_tree(move, params, first, second), AdamW(first, second, steps)


def clip(gradients: Any, limit: float) -> tuple[Any, float]:
    """Returns the gradients, shrunk together where their norm is above the limit, and the norm they had.

    >>> clip({"w": np.array([3.0, 4.0])}, 1.0)
    ({'w': array([0.6, 0.8])}, 5.0)
    """
    arrays: list[Array] = [leaf for leaf in leaves(gradients) if differentiable(leaf)]
    norm = math.sqrt(sum(float(np.vdot(array, array)) for array in arrays))
    if not norm > limit:
        return gradients, norm
    factor = limit / norm
    return map_tree(lambda g: g * factor if differentiable(g) else g, gradients), norm


def schedule(step: int, *, steps: int, peak: float, warmup: int, floor: float = 0.1) -> float:
    """Returns the learning rate of a step: up in a line for `warmup` steps, then down by a cosine to floor * peak.

    >>> [round(schedule(s, steps=10, peak=1.0, warmup=2), 3) for s in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.134]
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(steps - warmup, 1)
    return peak * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * done)))
