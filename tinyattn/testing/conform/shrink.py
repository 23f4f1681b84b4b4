"""Failures made small: the fewest keys, queries, heads and options that still fail, with a script and the nearest known bug."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinyattn.testing.conform import budgets
from tinyattn.testing.conform.cases import Case, smaller
from tinyattn.testing.conform.nearest import Tried, nearest_bug
from tinyattn.testing.conform.report import Finding
from tinyattn.testing.conform.script import script_of
from tinyattn.testing.conform.stranger import Misshaped, Raised

# `run` is a Run of the file below, which calls these functions.
MOST_FINDINGS, PATIENCE = 3, 150
Judged = list[tuple[Case, str]]


def explain(run: Any, question: str, failed: Judged, passed: Judged) -> None:
    """Shrinks failures, and makes a finding per set of options that is left; the question of one option alone is that option."""
    gradients = question == "gradients"
    seen: dict[tuple[str, ...], tuple[Case, str]] = {}
    for case, said in failed[: 2 * MOST_FINDINGS]:
        small, why = shrunk(run, case, said, gradients)
        seen.setdefault(tuple(name for name, _ in small.options), (small, why))
    likeness = "" if gradients else nearest_bug(answers(run, failed), answers(run, passed), run.found)
    for names, (small, why) in list(seen.items())[:MOST_FINDINGS]:
        says = (f"with {', '.join(names) or 'no option'} ({small.sizes}): {why}; "
                f"{len(failed)} of {len(failed) + len(passed)} problems fail")
        kernel = run.stranger
        script = "" if gradients else script_of(small, run.found, kernel.fn, kernel.library.name, kernel.dtype, allowed(run, small))
        asked = names[0] if len(names) == 1 and not gradients else question
        run.findings.append(Finding("FAILS", asked, says, script, likeness, options=names))


def shrunk(run: Any, case: Case, said: str, gradients: bool, *, raising: bool = False) -> tuple[Case, str]:
    """Returns the smallest case that still fails, and what it says."""
    tries, going = 0, True
    while going and tries < PATIENCE and not run.late():
        going = False
        for other in smaller(case, run.room):
            tries += 1
            try:
                spent, _, _ = run.tried(other, gradients=gradients)
                worse, text = spent > 1.0 and not raising, f"{spent:.3g} budgets"
            except Misshaped as error:
                worse, text = not raising, str(error)
            except Raised as error:
                worse, text = raising, str(error)
            if worse:
                case, said, going = other, text, True
                break
    return case, said


def allowed(run: Any, case: Case) -> float:
    """Returns the largest error that a case may have."""
    rng, dtype = np.random.default_rng(case.seed), run.stranger.dtype
    budget = budgets.of_outputs(case.problem(dtype), run.found, run.inside, dtype, rng)
    return float(budget.allowed[0].max(initial=0.0))


def answers(run: Any, cases: Judged) -> list[Tried]:
    """Returns problem, answer and budget of the cases that give an answer."""
    found: list[tuple[Any, Any, Any]] = []
    for case, _ in cases:
        try:
            _, got, budget = run.tried(case)
        except (Raised, Misshaped):
            continue
        found.append((case.problem(run.stranger.dtype), got[0], budget))
    return found
