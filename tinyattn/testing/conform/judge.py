"""conform(fn): the verdict on somebody else's kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from tinyattn.catalog import Row, find
from tinyattn.laws.precision import CLASSES, classes_of
from tinyattn.laws.problem import Problem
from tinyattn.ops.checks import real, whole
from tinyattn.testing.conform.axes import LETTERS
from tinyattn.testing.conform.cases import FEATURES, OPTIONS, Room
from tinyattn.testing.conform.dialect import QUESTIONS, dialect_of, known_word
from tinyattn.testing.conform.failures import Died, Late, Misshaped, Raised
from tinyattn.testing.conform.hazards import hazards, plain_problem
from tinyattn.testing.conform.isolated import isolated
from tinyattn.testing.conform.libraries import Library
from tinyattn.testing.conform.likeness import judge_like
from tinyattn.testing.conform.probe import base_of, layout_of, probes
from tinyattn.testing.conform.report import Finding, Report
from tinyattn.testing.conform.run import COMPILED, GRADIENTS, PROBLEMS, Run
from tinyattn.testing.conform.shrink import liken
from tinyattn.testing.conform.stranger import Stranger

# Of the seconds, the share after which no call begins, so that the verdict comes in time.
CALLING = 0.8
DTYPES = ("float32", "float64", "float16", "bfloat16")
SOFTMAX = ("attention", "attention_with_lse", "multi_head_attention", "grouped_query_attention",
           "streaming_attention")
ASKED = tuple(dict.fromkeys((*QUESTIONS, *OPTIONS, *FEATURES, "runs", "output", "gradients", "same again", "arguments")))


def conform(fn: Callable[..., Any], *, arrays: str = "numpy", dialect: str | Mapping[str, str] | None = None,
            supports: Collection[str] | None = None, like: str = "attention", dtype: str = "float32", inside: str | None = None,
            gradients: bool = True, backward: Callable[..., Any] | None = None, known: Mapping[str, str] | None = None,
            seconds: float = 60, seed: int = 0, isolate: bool = False) -> Report:
    """Returns the verdict on a kernel: whether it is right, in which dialect, how precise it is, and what is wrong.

    `fn(q, k, v, **options)` takes the arguments of the definition that `like` names, in arrays of the library `arrays`.
    Every difference from the definition's own dialect must be declared by `dialect`, words or the name of a preset.
    `supports` names the options that the kernel takes; without it every option is tried, and one that raises is untested.
    It may also name "groups" (query heads that share a kv head), "lengths" (as many queries as keys, or not) and "widths"
    (values of another width than keys), which are tried in any case.
    `inside` names the class of arithmetic whose budget judges the kernel. Gradients come from the library's own reverse
    mode, or from `backward(q, k, v, d_out, **options)`, which gives d_q, d_k, d_v, and d_bias if it has one. `known` maps
    questions that are known to fail to a link. No call begins after four fifths of `seconds`, and with `isolate`, in a child
    process, a call that does not return within `seconds` is ended.

    Raises:
        TypeError: fn is not callable, or an argument is of another kind. ValueError: an unknown library, word, option,
            dtype, class, mechanism or question; the message names the nearest ones.

    >>> from tinyattn.definitions import attention
    >>> conform(attention, supports={"causal"}, gradients=False).verdict
    'CONFORMS'
    """
    started = time.monotonic()
    for name, function in (("fn", fn), ("backward", backward)):
        if not callable(function) and (name == "fn" or function is not None):
            raise TypeError(f"{name}: expected a function, got {type(function).__name__}")
    limit, seed = real("seconds", seconds, above=0.0), whole("seed", seed, 0)
    declared, row = dialect_of(dialect), find(like)
    softmax = row.name in SOFTMAX
    if supports is not None:
        supports = frozenset([supports] if isinstance(supports, str) else supports)
        for option in supports:
            known_word("supports", option, dict.fromkeys((*options_of(row), *(FEATURES if softmax else ()))))
    known_word("dtype", dtype, dict.fromkeys(DTYPES))
    for question in known or {}:
        known_word("known", question, dict.fromkeys(ASKED))
    if inside is not None:
        known_word(f"inside, for {dtype}", inside, {name: CLASSES[name] for name in classes_of(dtype)})
    library = Library(arrays)
    outputs = 2 if row.name == "attention_with_lse" else 1
    with isolated(fn, backward, library, started + limit) if isolate else nullcontext((fn, backward)) as (called, pulled):
        stranger = Stranger(called, library, dtype, declared["layout"], outputs, pulled, started + CALLING * limit)
        run = Run(stranger, declared, supports, inside or loosest(dtype), started, CALLING * limit, np.random.default_rng(seed), seed,
                  dict(declared), options=[o for o in options_of(row) if supports is None or o in supports])
        try:
            if softmax:
                judge_softmax(run, gradients)
            else:
                judge_like(run, row, gradients)
        except Died as death:
            run.findings.append(Finding("CRASHED", "runs", str(death)))
        except Late:
            run.untested.append(("all further questions", "the time limit was reached"))
            run.short = True
    if not run.findings and (run.short or not run.problems):
        run.findings.append(Finding("CRASHED", "runs", f"the time limit was reached after {limit:g} s and {run.problems} problems, "
                                    "too few for a verdict: allow more seconds"))
    if supports is not None:
        run.untested += [(option, "is not declared in `supports`") for option in options_of(row) if option not in supports]
    report = Report(run.found, tuple(run.findings), tuple(dict.fromkeys(run.untested)), tuple(run.tested),
                    tuple(sorted(stranger.noted)), run.worst, run.fits, run.problems, run.failed, time.monotonic() - started, seed)
    return report.marked(known or {})


def options_of(row: Row) -> tuple[str, ...]:
    """Returns the names of the options of a mechanism."""
    return OPTIONS if row.name in SOFTMAX else tuple(name for name in row.definition.__kwdefaults__ or {})


def loosest(dtype: str) -> str:
    """Returns the class that a kernel of this dtype is judged by where none is declared: float32 or, of 16 bits, the loosest."""
    return "float32" if dtype in ("float32", "float64") else classes_of(dtype)[-1]


def judge_softmax(run: Run, gradients: bool) -> None:
    """Asks all questions about softmax attention."""
    layout, lengths, said = layout_of(run.stranger)
    if layout is None:
        if said is None:
            wrong_at_once(run)
        else:
            verdict, what = ("CRASHED", "raises") if isinstance(said, Raised) else ("FAILS", "is wrong:")
            hint = "; the kernel is called as fn(q, k, v, **options)" if "TypeError" in str(said) or verdict == "FAILS" else ""
            run.findings.append(Finding(verdict, "runs", f"a plain call {what} {said}{hint}"))
        return
    run.differs("layout", layout)
    run.tested += ["runs", "layout"]
    run.stranger = replace(run.stranger, layout=layout)
    letters = run.stranger.inner
    run.room = Room("b" in letters, "h" in letters, lengths=lengths, few=run.stranger.library.name in COMPILED)
    if not lengths:
        run.lacks("lengths", str(said))
    else:
        run.tested.append("lengths")
    for probe in probes("h" in letters, lengths):
        run.ask(probe)
    if run.stranger.outputs == 2:
        p = plain_problem(run)
        word = base_of(p, run.found, run.stranger.call(p)[1])
        if word is None:
            run.findings.append(Finding("FAILS", "lse", "the log-sum-exp fits none of the known bases"))
        else:
            run.differs("lse", word)
        run.tested.append("lse")
    p = plain_problem(run)
    widths = takes(run, p.but(v=p.v[..., :4]), "widths")
    run.room = replace(run.room, widths=widths, open_windows=run.room.right_windows and (
        "window" not in run.options or takes(run, p.but(window=(None, 1)), "window with None on a side")))
    run.tested += ["widths"] if widths else []
    same_again(run)
    hazards(run)
    run.judge(PROBLEMS)
    returned_dtypes(run)
    liken(run)
    run.fits = run.fitting()
    if not gradients:
        run.untested.append(("gradients", "left out by gradients=False"))
    else:
        differentiable(run)


def wrong_at_once(run: Run) -> None:
    """Notes that a kernel is wrong without any option, and shows it in the first layout whose shapes fit."""
    run.findings.append(Finding("FAILS", "runs", "a plain call is wrong: where all scores are equal, the output is in no layout "
                                "the mean of the values"))
    for layout in (run.declared["layout"], *QUESTIONS["layout"]):
        run.stranger, letters = replace(run.stranger, layout=layout), LETTERS[layout.split("->")[0]]
        run.room = Room("b" in letters, "h" in letters, groups=False, widths=False, few=run.stranger.library.name in COMPILED)
        if takes(run, plain_problem(run), "layout"):
            run.options, run.untested = [], [("every option", "a plain call is wrong")]
            run.judge(PROBLEMS // 2)
            return


def takes(run: Run, p: Problem, what: str) -> bool:
    """Returns whether the kernel takes a call; where it does not, `what` is untested or refused."""
    try:
        run.stranger.call(p)
    except (Raised, Misshaped) as error:
        run.lacks(what, str(error))
        return False
    return True


def returned_dtypes(run: Run) -> None:
    """Notes outputs of another dtype than the inputs."""
    run.tested.append("dtype")
    for dtype in sorted(run.stranger.returned - {run.stranger.dtype}):
        if dtype in QUESTIONS["dtype"]:
            run.differs("dtype", dtype)
        else:
            run.findings.append(Finding("FAILS", "dtype", f"returns {dtype} for {run.stranger.dtype}: convert it to the dtype of q"))


def differentiable(run: Run) -> None:
    """Judges the gradients, where the kernel has any."""
    p = plain_problem(run)
    try:
        run.stranger.gradients(p, np.ones((*p.q.shape[:-1], p.v.shape[-1])))
    except Raised as error:
        if run.stranger.backward is not None:
            run.findings.append(Finding("REFUSES", "gradients", f"`backward` is given and raises {error}"))
            return
        # Of NumPy's arrays it is the kernel's complaint about a Tensor, which says nothing to its author.
        said = ("NumPy has no reverse mode, and the kernel does not take a tinyattn Tensor for an array"
                if run.stranger.library.name == "numpy" else str(error))
        run.untested.append(("gradients", f"{said}; pass backward= for a kernel with a backward of its own"))
        return
    except Misshaped as error:
        run.findings.append(Finding("FAILS", "gradients", str(error)))
        return
    run.judge(GRADIENTS, gradients=True)


def same_again(run: Run) -> None:
    """Checks that the same call gives the same bits, also after other calls, and that arguments stay unchanged."""
    p = plain_problem(run, seed=3)
    # Values of 0 and 1 would hide a small difference from 16-bit outputs.
    p = p.but(v=np.asarray(np.random.default_rng(3).standard_normal(p.v.shape), np.float32).astype(np.float64))
    first = run.stranger.call(p)[0]
    run.stranger.call(p.but(q=2.0 * p.q))
    if not np.array_equal(first, run.stranger.call(p)[0], equal_nan=True):
        run.findings.append(Finding("FAILS", "same again", "the same call gives other numbers the second time: "
                                    "the kernel is random or keeps something between calls"))
    run.tested += ["same again", "arguments"]
    changed = [noted for noted in run.stranger.noted if noted.startswith("changes")]
    run.findings += [Finding("FAILS", "arguments", f"the kernel {noted}") for noted in changed]
