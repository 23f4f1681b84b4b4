"""Kernels of other mechanisms than softmax attention: judged on the problems that the catalog draws for their definition."""

from __future__ import annotations

from dataclasses import replace

from tinyattn.catalog import Row
from tinyattn.laws.budget import measure
from tinyattn.laws.draw.sizes import draw_sizes
from tinyattn.laws.problem import Problem
from tinyattn.laws.law import plain
from tinyattn.testing.conform.report import Finding
from tinyattn.testing.conform.run import Run
from tinyattn.testing.conform.stranger import Misshaped, Raised

PROBLEMS = 40


def judge_like(run: Run, row: Row, gradients: bool) -> None:
    """Compares a kernel with the definition of its mechanism, within the rounding of the definition."""
    failed, said = 0, ""
    for number in range(PROBLEMS):
        if run.late():
            run.untested.append(("output", f"the time was over after {number} problems"))
            break
        sizes = row.fit(replace(draw_sizes(run.rng, dtype="float32"), leading=(1,)))
        p = row.sample(run.rng, sizes)
        p = kept(p, run.options, row)
        try:
            got = run.stranger.call_as_is(p)
        except Raised as error:
            if number == 0:
                run.findings.append(Finding("CRASHED", "runs", f"a plain call raises {error}"))
                return
            failed, said = failed + 1, said or str(error)
            continue
        except Misshaped as error:
            failed, said = failed + 1, said or str(error)
            continue
        budget = measure((plain,), row.mechanism, p, run.rng, reorder=False)
        spent = budget.spent(got)
        run.problems, run.worst = run.problems + 1, max(run.worst, spent)
        if spent > 1.0:
            failed, said = failed + 1, said or f"{spent:.3g} budgets with {sizes}"
    run.tested += ["runs", "output"]
    if failed:
        run.findings.append(Finding("FAILS", "output", f"{failed} problems fail; the first: {said}"))
    if gradients:
        run.untested.append(("gradients", f"of `{row.name}` are not judged yet"))


def kept(p: Problem, options: list[str], row: Row) -> Problem:
    """Returns the problem without the optional arguments that are not asked for."""
    optional = row.definition.__kwdefaults__ or {}
    return replace(p, options={name: x for name, x in p.options.items() if name in options or name not in optional})

