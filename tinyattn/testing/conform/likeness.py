"""Kernels of other mechanisms than softmax attention: judged on the problems that the catalog draws for their definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.catalog import Row
from tinyattn.engine.grad import vjp
from tinyattn.laws.budget import Budget, anywhere, measure
from tinyattn.laws.draw.sizes import draw_sizes
from tinyattn.laws.gradient import first
from tinyattn.laws.law import plain
from tinyattn.laws.precision import ROUNDOFF, rounded
from tinyattn.laws.problem import Problem, Sizes
from tinyattn.ops.types import Array
from tinyattn.testing.conform.budgets import ROUNDED, STEP
from tinyattn.testing.conform.failures import Late, Misshaped, Raised
from tinyattn.testing.conform.report import Finding, too_large
from tinyattn.testing.conform.run import LOOKING, Run
from tinyattn.testing.conform.script import home
from tinyattn.testing.conform.shrink import smallest
from tinyattn.testing.conform.stranger import named_floats

PROBLEMS, GRADIENTS, PATIENCE, SECONDS = 40, 12, 60, 3.0
Drawn = tuple[int, Sizes]


def judge_like(run: Run, row: Row, gradients: bool) -> None:
    """Compares a kernel with the definition of its mechanism, outputs and gradients, within the rounding of the definition."""
    if not compared(run, row, "output", PROBLEMS, output_error):
        return
    run.tested = ["runs", *(option for option in run.options if option in run.heard), *run.tested]
    run.untested += [(option, "no drawn problem has it") for option in run.options if option not in run.heard]
    if not gradients:
        run.untested.append(("gradients", "left out by gradients=False"))
    elif run.stranger.backward is not None and row.called is not Row.called:
        run.untested.append(("gradients", f"`{row.name}` takes other arguments than q, k and v; leave out backward="))
    else:
        try:
            pulled(run, row, drawn(run, row, (0, sizes_of(run, row))))
        except Raised as error:
            if run.stranger.backward is not None:
                run.findings.append(Finding("REFUSES", "gradients", f"`backward` is given and raises {error}"))
            else:
                run.untested.append(("gradients", f"{error}; pass backward= for a kernel with a backward of its own"))
        except Misshaped as error:
            run.findings.append(Finding("FAILS", "gradients", str(error)))
        else:
            compared(run, row, "gradients", GRADIENTS, gradient_error)


def compared(run: Run, row: Row, question: str, count: int, error_of: Callable[[Run, Row, Drawn], float]) -> bool:
    """Judges a number of problems and makes one finding of what fails, on the smallest sizes; False if a plain call raises."""
    failed: list[tuple[Drawn, str, str]] = []
    before = run.problems
    for number in range(count):
        one = (int(run.rng.integers(1 << 30)), sizes_of(run, row))
        try:
            if failed and run.late(LOOKING):
                raise Late
            verdict, said = told(run, row, one, error_of)
        except Late:
            run.stopped(question, number, count)
            break
        if verdict == "REFUSES" and number == 0 and question == "output":
            run.findings.append(Finding("CRASHED", "runs", f"a plain call {said}"))
            return False
        run.problems += 1
        if verdict:
            failed.append((one, verdict, said))
    run.failed += len(failed)
    run.tested += [question] if run.problems > before else []
    if failed:
        one, verdict, said = failed[0]
        small, said = shrunk(run, row, one, verdict, said, error_of)
        says = f"with {small[1]}: {said}; {len(failed)} of {run.problems - before} problems fail"
        run.findings.append(Finding(verdict, question, says, script_of(run, row, small) if question == "output" else ""))
    return True


def told(run: Run, row: Row, one: Drawn, error_of: Callable[[Run, Row, Drawn], float]) -> tuple[str, str]:
    """Returns the verdict on one problem, empty if it is right, and what to say about it."""
    try:
        spent = error_of(run, row, one)
    except Raised as error:
        return "REFUSES", f"raises {error}"
    except Misshaped as error:
        return "FAILS", str(error)
    run.worst = max(run.worst, spent)
    return ("FAILS", too_large(spent)) if spent > 1.0 else ("", "")


def sizes_of(run: Run, row: Row) -> Sizes:
    """Returns sizes that the mechanism takes, with a batch of one."""
    dtype = "float64" if run.stranger.dtype == "float64" else "float32"
    return row.fit(replace(draw_sizes(run.rng, dtype=dtype), leading=(1,)))


def drawn(run: Run, row: Row, one: Drawn) -> Problem:
    """Returns the problem of a seed and sizes, its numbers such as the dtype can hold, with the options that are asked for."""
    seed, sizes = one
    p, optional = row.sample(np.random.default_rng(seed), sizes), row.definition.__kwdefaults__ or {}
    p = replace(p, options={name: x for name, x in p.options.items() if name in run.options or name not in optional})
    run.heard.update(name for name, x in p.options.items() if x is not None and x is not False)
    dtype = run.stranger.dtype
    return p.map(lambda x: rounded(x, dtype)) if dtype in ("float16", "bfloat16") else p


def with_rounding(run: Run, budget: Budget) -> Budget:
    """Returns the budget of a float32 kernel with the rounding of a 16-bit output."""
    dtype = run.stranger.dtype
    if dtype not in ("float16", "bfloat16"):
        return budget
    return Budget(budget.truth, tuple(allowed + ROUNDED * ROUNDOFF[dtype] * np.where(np.isfinite(out), np.abs(out), 0.0) + STEP[dtype]
                                      for out, allowed in zip(budget.truth, budget.allowed, strict=True)))


def output_error(run: Run, row: Row, one: Drawn) -> float:
    """Returns the error of the outputs of one problem, in budgets."""
    p = drawn(run, row, one)
    try:
        got = plain(row.called(run.stranger.in_numpy), p)
    except (TypeError, ValueError, IndexError) as error:  # the mechanism goes on with the result, which is not as it should be
        raise Misshaped(f"the result cannot be used: {' '.join(str(error).split())}") from error
    budget = measure((plain,), row.mechanism, p, np.random.default_rng(one[0]), reorder=False)
    return with_rounding(run, budget).spent(tuple(np.asarray(x) for x in got))


def d_out_of(shape: tuple[int, ...]) -> Array:
    """Returns the gradient of an output that the kernel's gradients start from, which every 16-bit dtype can hold."""
    return np.asarray(rounded(np.cos(np.arange(np.prod(shape))).reshape(shape), "bfloat16"), np.float64)


def pulled(run: Run, row: Row, p: Problem) -> tuple[Array, ...]:
    """Returns the kernel's own gradients of q, k, v and floating options."""
    return run.stranger.pulled_as_is(p, d_out_of, row.called)


def gradient_error(run: Run, row: Row, one: Drawn) -> float:
    """Returns the error of d_q, d_k, d_v and of the gradients of floating options of one problem, in budgets."""
    def side(f: Any, problem: Problem) -> tuple[Array, ...]:
        named = named_floats(problem) if run.stranger.backward is None else {"q": problem.q, "k": problem.k, "v": problem.v}
        out, pull = vjp(lambda t: first(problem.but(**t).call(f)), named)
        return tuple(np.asarray(x) for x in pull(d_out_of(out.shape).astype(out.dtype)).values())

    p = drawn(run, row, one)
    budget = measure((side,), row.mechanism, p, np.random.default_rng(one[0]), reorder=False, pool=anywhere)
    return with_rounding(run, budget).spent(pulled(run, row, p))


def shrunk(run: Run, row: Row, one: Drawn, verdict: str, said: str, error_of: Callable[[Run, Row, Drawn], float]) -> tuple[Drawn, str]:
    """Returns the smallest sizes at which the same seed still fails in the same way, and what to say."""
    def smaller(larger: Drawn) -> list[Drawn]:
        seed, sizes = larger
        names = ("q_len", "kv_len", "groups", "kv_heads", "head_dim", "value_dim")
        fewer = [(name, max(count, 1)) for name in names for count in (getattr(sizes, name) // 2, getattr(sizes, name) - 1)]
        fitting = dict.fromkeys(row.fit(replace(sizes, **{name: count})) for name, count in fewer)
        return [(seed, other) for other in fitting if other != sizes]

    def failing(other: Drawn) -> str | None:
        again, text = told(run, row, other, error_of)
        return text if again == verdict else None

    return smallest(one, said, smaller, failing, SECONDS, PATIENCE)


def script_of(run: Run, row: Row, one: Drawn) -> str:
    """Returns lines that draw the problem again and print the kernel's answer and the definition's."""
    library, dtype = run.stranger.library.name, run.stranger.dtype
    return "\n".join((
        "import numpy as np", "from tinyattn.catalog import find", "from tinyattn.laws.problem import Sizes",
        "from tinyattn.testing.conform.libraries import Library", home(run.stranger.fn),
        f"row, library = find({row.name!r}), Library({library!r})",
        f"p = row.sample(np.random.default_rng({one[0]}), {one[1]!r})",
        f"given = {{name: library.give(x, {dtype!r}) for name, x in {{'q': p.q, 'k': p.k, 'v': p.v, **p.options}}.items()}}",
        "print(p.call(row.mechanism))", "print(mine(**given))"))
