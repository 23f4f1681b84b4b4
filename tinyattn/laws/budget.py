"""How large an error may be: measured on an honest evaluation of the same problem, never typed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array

FACTOR = 4.0
DRAWS = 8
# Of a handful of numbers eight draws may all be lucky: below this many, three times as many are made.
FEW = 64
EPS32 = float(np.finfo(np.float32).eps)
Outputs = tuple[Array, ...]
Side = Callable[[Mechanism, Problem], Outputs]


@dataclass(frozen=True, eq=False)
class Budget:
    """The true outputs of a problem and the error that each may have, row by row."""

    truth: Outputs
    allowed: Outputs

    def spent(self, got: Outputs, expected: Outputs | None = None) -> float:
        """Returns the largest error in units of the budget: at most 1 is right, inf for NaN or another shape.

        The error is against the truth, or against what the other side of a law gave.
        """
        expected = self.truth if expected is None else expected
        if len(got) != len(expected):
            return float("inf")
        worst = 0.0
        for out, want, allowed in zip(got, expected, self.allowed, strict=True):
            if out.shape != want.shape:
                return float("inf")
            same = (out == want) | (np.isnan(out) & np.isnan(want))  # equal infinities have no difference
            with np.errstate(invalid="ignore", over="ignore", divide="ignore", under="ignore"):
                error = np.where(same, 0.0, np.abs(out.astype(np.float64) - want))
                ratio = np.where(error == 0.0, 0.0, error / allowed)
            worst = max(worst, float(np.max(np.where(np.isnan(ratio), np.inf, ratio), initial=0.0)))
        return worst


def rows(error: Array) -> Array:
    """Returns the largest error of each row, spread over the row again; NaN (an equal infinity) is none."""
    error = np.where(np.isfinite(error), error, 0.0)
    return error if not error.ndim or not error.size else np.broadcast_to(
        error.max(axis=-1, keepdims=True), error.shape)


def whole(error: Array) -> Array:
    """Returns the largest error anywhere: for gradients, whose rows are sums that may cancel to an exact 0."""
    finite = np.where(np.isfinite(error), error, 0.0)
    return np.broadcast_to(finite.max(initial=0.0), finite.shape)


def logs(error: Array) -> Array:
    """Returns the largest error anywhere, at least eps: a sum that is off by a factor 1 + eps is a log off by eps.

    Not row by row: a row of logs may be one number, too few to know an error by.
    """
    return np.maximum(whole(error), EPS32)


def measure(sides: Sequence[Side], honest: Mechanism, problem: Problem, rng: np.random.Generator,
            *, reorder: bool, pool: Callable[[Array], Array] = rows) -> Budget:
    """Returns the budget 4 (E + J + eps |out|) of what the sides compute on a problem.

    E is the largest error of the honest mechanism in float32 against itself in float64, over 8 orders of the keys
    (where the outputs do not depend on their order: `reorder`) or 8 jittered copies. J is the largest change of the
    float64 outputs when every input is multiplied by 1 +- eps. For a float64 problem both are scaled by 2 ** -29,
    the ratio of the two epsilons: an error of honest float64 has no truth to be measured against. `pool` says over
    what the largest error is taken.
    """
    exact = problem.astype(np.float64)
    truth = tuple(np.asarray(out) for out in sides[0](honest, exact))
    single = problem.astype(np.float32)
    widened = single.astype(np.float64)

    def apart(a: Sequence[Array], b: Sequence[Array]) -> list[Array]:
        with np.errstate(invalid="ignore"):
            return [pool(np.abs(np.asarray(x, np.float64) - y)) for x, y in zip(a, b, strict=True)]

    target = sides[0](honest, widened)
    largest = [np.zeros(np.shape(out)) for out in truth]
    jitter = [np.zeros(np.shape(out)) for out in truth]
    for draw in range(DRAWS if sum(out.size for out in truth) >= FEW else 3 * DRAWS):
        moved = widened.map(lambda a: np.asarray(a * (1.0 + EPS32 * rng.choice((-1.0, 1.0), a.shape))))
        jitter = [np.maximum(j, e) for j, e in zip(jitter, apart(sides[0](honest, moved), target), strict=True)]
        if reorder and draw:
            copy, aim = single.reordered(rng.permutation(single.k.shape[-2])), target
        else:
            copy = single if not draw else moved.astype(np.float32)
            aim = target if not draw else sides[0](honest, copy.astype(np.float64))
        for side in sides:
            largest = [np.maximum(m, e) for m, e in zip(largest, apart(side(honest, copy), aim), strict=True)]
    wide = problem.q.dtype == np.float64
    shrink, eps = (2.0 ** -29, float(np.finfo(np.float64).eps)) if wide else (1.0, EPS32)
    allowed = tuple(FACTOR * (shrink * (m + j) + eps * np.where(np.isfinite(out), np.abs(out), 0.0))
                    for m, j, out in zip(largest, jitter, truth, strict=True))
    return Budget(truth, allowed)
