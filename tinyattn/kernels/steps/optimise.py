"""A step of AdamW on one array: its gradient is scaled, and both means and the parameter are updated, in one pass over all four."""
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.kernels.steps.registers import flat
from tinyattn.kernels.tiles.jit import compiled, reassociated
from tinyattn.kernels.tiles.threads import each
from tinyattn.ops.types import Array


@reassociated
def squares(x):
    """Returns the sum of the squares of an array, in float64: those of float32 neither overflow nor underflow in it."""
    total = 0.0
    for n in range(x.size):
        total += np.float64(x[n]) * np.float64(x[n])
    return total


@compiled
def square_of(x, out, at):
    """Fills out[at] with the sum of the squares of an array."""
    out[at] = squares(x)


@compiled
def move(p, m, r, g, shrink, beta1, kept, gained, rate, unbias, epsilon, fade, new_p, new_m, new_r):
    """Fills m' = beta1 m + (1 - beta1) g, r' = sqrt((kept r)^2 + (gained g)^2), p' = fade p - rate m' / (unbias r' + epsilon)."""
    for n in range(p.size):
        slope = shrink * np.float64(g[n])
        mean = beta1 * np.float64(m[n]) + (1.0 - beta1) * slope
        far, near = kept * np.float64(r[n]), gained * slope
        root = np.sqrt(far * far + near * near)
        new_m[n], new_r[n] = mean, root
        new_p[n] = fade * np.float64(p[n]) - rate * mean / (unbias * root + epsilon)


def norm_of(arrays: list[Array]) -> float:
    """Returns the root of the sum of the squares of all float32 arrays, added up in their order."""
    found = np.zeros(len(arrays))
    each(lambda n: square_of(flat(arrays[n]), found, n), len(arrays), sum(x.size for x in arrays))
    return float(np.sqrt(found.sum()))


def moved(leaves: list[tuple[Array, Array, Array, Array, bool]], shrink: float, *, rate: float, decay: float, beta1: float,
          beta2: float, epsilon: float, steps: int) -> list[tuple[Array, Array, Array]]:
    """Returns (parameter, mean, root) after the step `steps` of AdamW, from (parameter, mean, root, gradient, decays), all float32."""
    made = [tuple(np.empty(leaf[0].shape, np.float32) for _ in range(3)) for leaf in leaves]
    numbers = (shrink, beta1, beta2 ** 0.5, (1.0 - beta2) ** 0.5, rate / (1.0 - beta1 ** steps), (1.0 - beta2 ** steps) ** -0.5,
               float(epsilon))

    def task(n: int) -> None:
        *arrays, decays = leaves[n]
        given: Any = [flat(x) for x in arrays]
        move(*given, *numbers, 1.0 - rate * decay if decays else 1.0, *(x.reshape(-1) for x in made[n]))

    each(task, len(leaves), sum(leaf[0].size for leaf in leaves))
    return [(p, m, r) for p, m, r in made]
