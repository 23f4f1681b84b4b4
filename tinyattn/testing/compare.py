"""Outputs compared with those of the definition, within a budget measured on the same problem."""

from __future__ import annotations

import numpy as np

from tinyattn.laws.budget import Budget, Outputs, growing, sufficient
from tinyattn.laws.law import outputs, plain
from tinyattn.laws.problem import Mechanism, Problem


def assert_within_budget(mechanism: Mechanism, problem: Problem, *, honest: Mechanism, rng: np.random.Generator) -> None:
    """Passes silently if a mechanism gives the definition's outputs on a problem, within the definition's own rounding error.

    Raises:
        AssertionError: they are not; it names the worst place, both values and the error in budgets.

    >>> from tinyattn.definitions import attention, streaming_attention
    >>> from tinyattn.laws.problem import Sizes, arrays
    >>> rng = np.random.default_rng(0)
    >>> assert_within_budget(streaming_attention, arrays(rng, Sizes(), causal=True), honest=attention, rng=rng)
    """
    got = tuple(np.asarray(out) for out in outputs(problem.call(mechanism)))
    explain(sufficient(growing((plain,), honest, problem, rng, reorder=True), got), got)


def explain(budget: Budget, got: Outputs, names: tuple[str, ...] = ("out", "lse")) -> None:
    """Passes silently if outputs are within their budget, otherwise raises an AssertionError that names the worst place."""
    spent = budget.spent(got)
    if spent <= 1.0:
        return
    if len(got) != len(budget.truth):
        raise AssertionError(f"expected {len(budget.truth)} outputs, got {len(got)}")
    for name, out, want, allowed in zip(names, got, budget.truth, budget.allowed, strict=False):
        if out.shape != want.shape:
            raise AssertionError(f"{name}: expected shape {want.shape}, got {out.shape}")
        with np.errstate(all="ignore"):
            over = np.where(out == want, 0.0, np.abs(out.astype(np.float64) - want) / allowed)
        over = np.where(np.isnan(over), np.inf, over)
        if over.size and over.max() > 1.0:
            where = tuple(int(i) for i in np.unravel_index(int(over.argmax()), over.shape))
            raise AssertionError(f"{name}{list(where)}: expected {want[where]:.9g}, got {out[where]:.9g}, "
                                 f"{over[where]:.3g} budgets off; {int((over > 1.0).sum())} of {over.size} are over budget")
