"""Running a law on problems drawn from a seed; problems that could not reveal a wrong answer are drawn again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinyattn.laws.budget import measure
from tinyattn.laws.draw.sizes import draw_sizes
from tinyattn.laws.draw.softmax import ALL
from tinyattn.laws.law import Law, judge, plain
from tinyattn.laws.problem import Mechanism, Problem

MOST_REDRAWN = 20


@dataclass(frozen=True, eq=False)
class Report:
    """The result of trying a law: how many examples, how many problems were drawn again, the worst error as a multiple of the budget.

    `crashed` says that the mechanism raised an error, which is no verdict on what it computes.

    >>> from tinyattn.laws import SOFTMAX_LAWS
    >>> Report(SOFTMAX_LAWS[0], holds=True, worst=0.5, examples=20, redrawn=1, failing=None).holds
    True
    """

    law: Law
    holds: bool
    worst: float
    examples: int
    redrawn: int
    failing: str | None
    crashed: bool = False


def tells(problem: Problem, honest: Mechanism, rng: np.random.Generator) -> bool:
    """Returns whether the budget of a softmax problem is small enough to reject at least one of three wrong answers.

    The wrong answers come from a scale that is 0.1 % off, from dropping one visible key, and from the mean of the values.
    """
    if not set(problem.options) <= set(ALL) or not problem.q.size or not problem.v.size or problem.k.shape[-2] < 2:
        return True
    try:
        return rejects(problem, honest, rng)
    except TypeError:  # it takes no mask or bias, so that these answers cannot be made
        return True


def rejects(problem: Problem, honest: Mechanism, rng: np.random.Generator) -> bool:
    """Returns whether one of the three wrong answers exceeds the budget, or no query sees a key."""
    budget = measure((plain,), honest, problem, rng, reorder=True)
    seen = problem.visible()
    if not seen.any():
        return True
    fewer = seen.copy()
    fewer[..., int(np.argmax(seen.reshape(-1, seen.shape[-1]).any(axis=0)))] = False
    wrong = (problem.but(scale=1.001 * problem.scale), problem.but(mask=fewer, causal=False, window=None),
             problem.but(q=problem.q * 0.0, bias=None))
    return any(budget.spent(plain(honest, p)) > 1.0 for p in wrong)


def check(law: Law, mechanism: Mechanism, *, honest: Mechanism, rng: np.random.Generator, examples: int = 20) -> Report:
    """Returns the result of trying a law on a mechanism; the rounding of `honest`, the definition, sets the budget.

    Half of the problems are float64 and half are float32; the generator decides which come first.

    Raises:
        TypeError: a law that is not a Law.

    >>> from tinyattn.definitions import attention
    >>> from tinyattn.laws import SOFTMAX_LAWS
    >>> report = check(SOFTMAX_LAWS[2], lambda *a, scale=1.0, **o: attention(*a, scale=scale, **o), honest=attention,
    ...                rng=np.random.default_rng(0), examples=3)
    >>> report.law.name, report.holds
    ('default_scale_is_the_root_of_head_dim', False)
    """
    if not isinstance(law, Law):
        raise TypeError(f"law: expected a Law, such as those in SOFTMAX_LAWS, got {type(law).__name__}")
    worst, redrawn, tried, first = 0.0, 0, 0, int(rng.integers(2))
    while tried < examples:
        sizes = draw_sizes(rng, dtype=("float64", "float32")[(first + tried) % 2])
        problem = law.draw(rng, sizes)
        if not law.exact and redrawn < MOST_REDRAWN and not tells(problem, honest, rng):
            redrawn += 1
            continue
        tried += 1
        try:
            verdict = judge(law, mechanism, problem, honest=honest, rng=rng)
        except Exception as error:  # a mechanism of somebody else may raise anything; it is a crash, never a traceback
            return Report(law, False, float("inf"), tried, redrawn, f"{sizes}: {type(error).__name__}: {error}", crashed=True)
        worst = max(worst, verdict.spent)
        if not verdict.holds:
            options = ", ".join(sorted(name for name, o in problem.options.items() if o is not None and o is not False))
            return Report(law, False, worst, tried, redrawn, f"{sizes} with {options or 'no options'}: the error is "
                          f"{verdict.spent:.3g} times its budget")
    return Report(law, True, worst, tried, redrawn, None)
