"""How large an error may be: measured by evaluating the definition on the same problem, never typed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array

FACTOR = 4.0
DRAWS = 8
# With fewer numbers than this, the errors of eight draws may all be small by luck: three times as many are drawn.
FEW = 64
EPS32 = float(np.finfo(np.float32).eps)
Outputs = tuple[Array, ...]
Side = Callable[[Mechanism, Problem], Outputs]


@dataclass(frozen=True, eq=False)
class Budget:
    """The true outputs of a problem, and the error that each of their numbers may have."""

    truth: Outputs
    allowed: Outputs

    def spent(self, got: Outputs, expected: Outputs | None = None) -> float:
        """Returns the largest error in units of the budget: at most 1 is right, NaN or another shape gives inf.

        The error is measured against the truth, or against what the other side of a law gave (`expected`).
        """
        expected = self.truth if expected is None else expected
        if len(got) != len(expected):
            return float("inf")
        worst = 0.0
        for out, want, allowed in zip(got, expected, self.allowed, strict=True):
            if out.shape != want.shape:
                return float("inf")
            same = (out == want) | (np.isnan(out) & np.isnan(want))  # the difference of equal infinities would be NaN
            with np.errstate(invalid="ignore", over="ignore", divide="ignore", under="ignore"):
                error = np.where(same, 0.0, np.abs(out.astype(np.float64) - want))
                ratio = np.where(error == 0.0, 0.0, error / allowed)
            worst = max(worst, float(np.max(np.where(np.isnan(ratio), np.inf, ratio), initial=0.0)))
        return worst


def per_row(error: Array) -> Array:
    """Returns the largest error of each row, repeated along the row; NaN, which equal infinities give, counts as 0."""
    error = np.where(np.isfinite(error), error, 0.0)
    return error if not error.ndim or not error.size else np.broadcast_to(
        error.max(axis=-1, keepdims=True), error.shape)


def anywhere(error: Array) -> Array:
    """Returns the largest error anywhere, for gradients: their rows are sums, which may cancel to exactly 0."""
    finite = np.where(np.isfinite(error), error, 0.0)
    return np.broadcast_to(finite.max(initial=0.0), finite.shape)


def of_logs(error: Array) -> Array:
    """Returns the largest error anywhere, at least eps, for logs: a sum wrong by a factor 1 + eps has a log wrong by eps.

    It is not taken row by row, as a row of logs may be a single number, which is too few to measure an error on.
    """
    return np.maximum(anywhere(error), EPS32)


def measure(sides: Sequence[Side], honest: Mechanism, problem: Problem, rng: np.random.Generator,
            *, reorder: bool, pool: Callable[[Array], Array] = per_row) -> Budget:
    """Returns the budget 4 (E + J + eps |out|) for what the sides of a law compute on a problem.

    E is the largest error of the honest mechanism in float32 against itself in float64, over 8 orders of the keys
    (if `reorder`: the outputs do not depend on that order) or over 8 jittered copies of the problem. J is the largest
    change of the float64 outputs when every input is multiplied by 1 +- eps. For a float64 problem both are multiplied
    by 2 ** -29, the ratio of the two epsilons, since there is no wider dtype to measure a float64 error against. `pool`
    takes the largest error over rows or over the whole array.
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

    def budget(shrink: float, eps: float) -> Budget:
        return Budget(truth, tuple(FACTOR * (shrink * (m + j) + eps * np.where(np.isfinite(out), np.abs(out), 0.0))
                                   for m, j, out in zip(largest, jitter, truth, strict=True)))

    double = budget(2.0 ** -29, float(np.finfo(np.float64).eps))
    if problem.q.dtype == np.float64:
        return double
    # Where the sides disagree on the definition in float64, one of them is wrong, and what E measured is not rounding.
    agree = all(double.spent(tuple(np.asarray(out) for out in side(honest, exact))) <= 1.0 for side in sides[1:])
    return budget(1.0, EPS32) if agree else double
