"""Failures made small: the fewest keys, queries, heads and options that still fail, with a script and the nearest known bug."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from tinyattn.testing.conform import budgets
from tinyattn.testing.conform.cases import Case, draw, smaller
from tinyattn.testing.conform.dialect import OURS
from tinyattn.testing.conform.failures import Late, Misshaped, Raised
from tinyattn.testing.conform.nearest import NONE, Tried, nearest_bug
from tinyattn.testing.conform.report import Finding, too_large
from tinyattn.testing.conform.script import script_of

# `run` is a Run of the file below, which calls these functions.
MOST_FINDINGS, PATIENCE, SECONDS = 3, 150, 1.5
# A twin may take a second where there are 1,500 keys, and a fault that all lengths show is named by the short ones.
MOST_COMPARED, SHORT = 16, 200
# Small problems on which a difference of dialect is compared with the known bugs.
DRAWN = 24
Judged = list[tuple[Case, str]]
T = TypeVar("T")


def explain(run: Any, question: str, failed: Judged, passed: Judged) -> None:
    """Shrinks failures, and makes a finding per set of options that is left; the question of one option alone is that option."""
    gradients, failed, passed = question == "gradients", smallest_first(failed), smallest_first(passed)
    seen: dict[tuple[str, ...], tuple[Case, str]] = {}
    until = time.monotonic() + MOST_FINDINGS * SECONDS
    for case, said in failed[: 2 * MOST_FINDINGS]:
        if seen and time.monotonic() > until:
            break
        small, why = shrunk(run, case, said, gradients)
        seen.setdefault(tuple(name for name, _ in small.options), (small, why))
    short = [pair for pair in failed if pair[0].kv_len <= failed[0][0].kv_len + SHORT][:MOST_COMPARED]
    likeness = "" if gradients else nearest_bug(answers(run, short), answers(run, passed[:MOST_COMPARED]), run.found, run.late)
    for names, (small, why) in list(seen.items())[:MOST_FINDINGS]:
        says = (f"with {', '.join(names) or 'no option'} ({small.sizes}): {why}; "
                f"{len(failed)} of {len(failed) + len(passed)} problems fail")
        kernel = run.stranger
        script = "" if gradients else script_of(small, run.found, kernel.fn, kernel.library.name, kernel.dtype, allowed(run, small))
        asked = names[0] if len(names) == 1 and not gradients else question
        run.findings.append(Finding("FAILS", asked, says, script, likeness, options=names))


def smallest_first(cases: Judged) -> Judged:
    """Returns cases in the order of their sizes."""
    return sorted(cases, key=lambda pair: pair[0].batch * pair[0].heads * pair[0].q_len * pair[0].kv_len)


def liken(run: Any) -> None:
    """Adds the nearest known bug to differences of dialect, as what looks like another convention may be a bug."""
    for n, finding in enumerate(run.findings):
        question = finding.question
        if finding.verdict != "DIFFERS" or question in ("layout", "dtype", "lse") or run.declared[question] != OURS[question]:
            continue
        declared = replace(run, found={**run.found, question: OURS[question]})
        rng = np.random.default_rng((run.seed, n))
        failed: list[Tried] = []
        passed: list[Tried] = []
        for number in range(DRAWN):
            case = run.without_refused(draw(rng, 4 * number, run.options, run.room))
            try:
                spent, got, budget = declared.tried(case)
            except (Raised, Misshaped):
                continue
            except Late:
                return
            (failed if spent > 1.0 else passed).append((case.problem(run.stranger.dtype), got, budget))
        named = nearest_bug(failed, passed, declared.found, run.late)
        run.findings[n] = replace(finding, nearest="" if named == NONE else named)


def shrunk(run: Any, case: Case, said: str, gradients: bool, *, raising: bool = False) -> tuple[Case, str]:
    """Returns the smallest case that still fails, and what it says."""
    def failing(other: Case) -> str | None:
        try:
            spent, _, _ = run.tried(other, gradients=gradients)
        except Misshaped as error:
            return None if raising else str(error)
        except Raised as error:
            return str(error) if raising else None
        return too_large(spent) if spent > 1.0 and not raising else None

    return smallest(case, said, lambda one: smaller(one, run.room), failing, SECONDS, PATIENCE)


def smallest(one: T, said: str, smaller: Callable[[T], Iterable[T]], failing: Callable[[T], str | None], seconds: float,
             tries: int) -> tuple[T, str]:
    """Returns the last of ever smaller cases that still fails, and what it says; `failing` says that, or None for a right one."""
    until = time.monotonic() + seconds
    while True:
        for other in smaller(one):
            if tries <= 0 or time.monotonic() > until:
                return one, said
            tries -= 1
            try:
                text = failing(other)
            except Late:
                return one, said
            if text is not None:
                one, said = other, text
                break
        else:
            return one, said


def allowed(run: Any, case: Case) -> float:
    """Returns the largest error that a case may have."""
    rng, dtype = np.random.default_rng(case.seed), run.stranger.dtype
    budget = budgets.of_outputs(case.problem(dtype), run.found, run.inside, dtype, rng)
    return float(budget.allowed[0].max(initial=0.0))


def answers(run: Any, cases: Judged) -> list[Tried]:
    """Returns problem, answer and budget of the cases that give an answer before the time is over."""
    found: list[tuple[Any, Any, Any]] = []
    for case, _ in cases:
        try:
            _, got, budget = run.tried(case)
        except (Raised, Misshaped):
            continue
        except Late:
            break
        found.append((case.problem(run.stranger.dtype), got, budget))
    return found
