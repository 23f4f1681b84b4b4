"""How large an error may be: measured by evaluating the definition on the same problem, never typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tinyattn.laws.problem import Mechanism, Problem
from tinyattn.ops.types import Array

FACTOR = 4.0
DRAWS = 8
# With fewer numbers than this in an output, its errors in eight draws may all be small by luck: three times as many are drawn.
FEW = 64
EPS32 = float(np.finfo(np.float32).eps)
Outputs = tuple[Array, ...]
Side = Callable[[Mechanism, Problem], Outputs]
Terms = Callable[[Mechanism, Problem, Outputs], Outputs]


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
            *, reorder: bool, pool: Callable[[Array], Array] = per_row, terms: Terms | None = None) -> Budget:
    """Returns the budget 4 (E + J + eps |out|), plus a floor of tiny kv_len max|v|, for what the sides of a law compute on a problem.

    E is the largest error of the honest mechanism in float32 against itself in float64, over 8 orders of the keys
    (if `reorder`: the outputs do not depend on that order) or over 8 jittered copies of the problem. J is the largest
    change of the float64 outputs when every input array is multiplied by 1 +- eps. For a float64 problem both are multiplied
    by 2 ** -29, the ratio of the two epsilons, since there is no wider dtype to measure a float64 error against. `pool`
    takes the largest error over rows or over the whole array. Where the terms of an output cancel, `terms` gives their sizes,
    which are added to |out|: a sum is as exact as its terms, even if the honest mechanism sums in another way.
    """
    *_, budget = growing(sides, honest, problem, rng, reorder=reorder, pool=pool, terms=terms)
    return budget


def growing(sides: Sequence[Side], honest: Mechanism, problem: Problem, rng: np.random.Generator,
            *, reorder: bool, pool: Callable[[Array], Array] = per_row, terms: Terms | None = None) -> Iterator[Budget]:
    """Yields the budget with E = J = 0, and then as it stands after each draw; the last is the one that `measure` returns.

    No draw makes a budget smaller. What one of them allows, the last allows too, so that most problems need no draw or one.
    """
    exact = problem.astype(np.float64)
    truth = tuple(np.asarray(out) for out in sides[0](honest, exact))
    # Weights below the smallest normal number lose their bits or become 0, one per key.
    most = float(np.where(np.isfinite(exact.v), np.abs(exact.v), 0.0).max(initial=0.0)) * problem.k.shape[-2]
    double = problem.q.dtype == np.float64
    kind = np.finfo(np.float64 if double else np.float32)
    eps, floor, ratio = float(kind.eps), float(kind.tiny) * most, 2.0 ** -29
    sizes = [np.where(np.isfinite(out), np.abs(out), 0.0) for out in truth]
    if terms is not None:
        sizes = [size + np.where(np.isfinite(term), term, 0.0) for size, term in zip(sizes, terms(honest, exact, truth), strict=True)]

    def budget(errors: Sequence[Array]) -> Budget:
        return Budget(truth, tuple(floor + FACTOR * (error + eps * size) for error, size in zip(errors, sizes, strict=True)))

    largest = [np.zeros(np.shape(out)) for out in truth]
    jitter = [np.zeros(np.shape(out)) for out in truth]
    yield budget(largest)
    others = () if double else tuple(tuple(np.asarray(out) for out in side(honest, exact)) for side in sides[1:])
    for e, j in errors_of_draws(sides, honest, problem, rng, truth, reorder=reorder, pool=pool):
        largest, jitter = [list(map(np.maximum, *pair)) for pair in ((largest, e), (jitter, j))]
        if double:
            yield budget([ratio * (m + j) for m, j in zip(largest, jitter, strict=True)])
            continue
        # In float64 the sides agree on the definition up to the rounding of the inputs. Where they do not, one of them is wrong,
        # and what E measured is not rounding.
        inputs = budget([ratio * m + j for m, j in zip(largest, jitter, strict=True)])
        agree = all(inputs.spent(other) <= 1.0 for other in others)
        yield budget([m + j for m, j in zip(largest, jitter, strict=True)]) if agree else inputs


def sufficient(budgets: Iterable[Budget], got: Outputs, expected: Outputs | None = None) -> Budget:
    """Returns the first of these growing budgets that the error fits into, or the last if it fits into none."""
    for budget in budgets:
        if budget.spent(got, expected) <= 1.0:
            break
    return budget


def errors_of_draws(sides: Sequence[Side], honest: Mechanism, problem: Problem, rng: np.random.Generator, truth: Outputs,
                    *, reorder: bool, pool: Callable[[Array], Array]) -> Iterator[tuple[list[Array], list[Array]]]:
    """Yields, per draw, the errors of the honest mechanism in float32 and the changes of its float64 outputs by jitter."""
    single = problem.astype(np.float32)
    widened = single.astype(np.float64)

    def apart(a: Sequence[Array], b: Sequence[Array]) -> list[Array]:
        with np.errstate(invalid="ignore"):
            return [pool(np.abs(np.asarray(x, np.float64) - y)) for x, y in zip(a, b, strict=True)]

    target = sides[0](honest, widened)
    for draw in range(DRAWS if min((out.size for out in truth if out.size), default=FEW) >= FEW else 3 * DRAWS):
        moved = widened.map(lambda a: np.asarray(a * (1.0 + EPS32 * rng.choice((-1.0, 1.0), a.shape))))
        changed = sides[0](honest, moved)
        if not draw:
            copy, aim = single, target
        elif reorder:
            copy, aim = single.reordered(rng.permutation(single.k.shape[-2])), target
        else:
            copy = moved.astype(np.float32)
            aim = sides[0](honest, copy.astype(np.float64))
        errors = [apart(side(honest, copy), aim) for side in sides]
        yield [np.maximum.reduce(each) for each in zip(*errors, strict=True)], apart(changed, target)
