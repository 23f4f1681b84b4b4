"""One run of conform: asks a kernel every question and judges it in its own dialect."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tinyattn.laws.precision import classes_of, rounded
from tinyattn.testing.conform import budgets
from tinyattn.testing.conform.cases import FEATURES, Case, Room, draw
from tinyattn.testing.conform.dialect import QUESTIONS
from tinyattn.testing.conform.failures import Died, Late, Misshaped, Raised
from tinyattn.testing.conform.probe import Probe, near, word_of
from tinyattn.testing.conform.report import Finding, too_large
from tinyattn.testing.conform.shrink import explain, shrunk
from tinyattn.testing.conform.stranger import Stranger

PROBLEMS, GRADIENTS = 40, 12
# Of the time, the share after which a kernel that failed is not given more problems: the rest makes the failures small.
LOOKING = 0.5
# Libraries that compile every shape anew.
COMPILED = ("jax", "tinygrad")


@dataclass
class Run:
    """One run of the kit: the kernel, what is declared, what is found, and what is left of the time."""

    stranger: Stranger
    declared: dict[str, str]
    supports: frozenset[str] | None
    inside: str
    started: float
    seconds: float
    rng: np.random.Generator
    seed: int
    found: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    tested: list[str] = field(default_factory=list)
    untested: list[tuple[str, str]] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    worst: float = 0.0
    apart: list[frozenset[str]] = field(default_factory=list)
    room: Room = field(default_factory=Room)
    heard: set[str] = field(default_factory=set)
    fits: str = "not measured"
    problems: int = 0
    failed: int = 0
    short: bool = False

    def late(self, share: float = 1.0) -> bool:
        """Returns whether a share of the time is over."""
        return time.monotonic() > self.started + share * self.seconds

    def stopped(self, question: str, number: int, count: int) -> None:
        """Notes that the time limit was reached after some of `count` problems; fewer than half of them are too few for a verdict."""
        self.untested.append((question, f"the time limit was reached after {number} of {count} problems"))
        self.short |= number < count / 2

    def differs(self, question: str, word: str) -> None:
        """Notes the word that a kernel speaks, and a finding where another one is declared."""
        told, self.found[question] = self.found[question] == word != self.declared[question], word
        if word != self.declared[question] and not told:
            said = QUESTIONS[question]
            line = f"dialect={{{question!r}: {word!r}}}, or --dialect {question}={word}"
            says = (f"{said[word]}. By the declared dialect {said[self.declared[question]]}. If the kernel is meant to differ here, "
                    f"declare it: {line}")
            self.findings.append(Finding("DIFFERS", question, says))

    def ask(self, probe: Probe) -> None:
        """Asks one question: the word, a refusal, an option that changes nothing, or answers that no word explains."""
        if not set(probe.needs) <= set(self.options):
            return
        name = " with ".join(probe.needs) or probe.question
        try:
            answers = [self.stranger.call(p)[0] for p in probe.problems]
        except (Raised, Misshaped) as error:
            if not self.asked_to_the_left(probe, str(error)):
                self.refused(probe, name, str(error))
            return
        except Died as error:
            self.findings.append(Finding("CRASHED", probe.question, f"with {name}: {error}"))
            self.options = [option for option in self.options if option not in probe.needs]
            return
        option = probe.needs[0] if len(probe.needs) == 1 else None
        if option and option not in self.heard and self.ignored(option, probe, answers) and not self.needs_causal(option, probe):
            self.findings.append(Finding("IGNORES", option, f"`{option}` is accepted and changes nothing"))
            self.options.remove(option)
            return
        self.heard.update(probe.needs)
        word = word_of(probe, self.found, answers)
        if word is None:
            words = ", ".join(QUESTIONS[probe.question])
            self.findings.append(Finding("FAILS", probe.question, f"the answers to `{name}` fit none of the known words ({words})"))
        else:
            self.differs(probe.question, word)
        self.tested += [asked for asked in dict.fromkeys((probe.question, *probe.needs)) if asked not in self.tested]

    def ignored(self, option: str, probe: Probe, answers: list[Any]) -> bool:
        """Returns whether a kernel gives the same without the option, and the definition does not."""
        bare = [self.stranger.call(replace(p, options={n: x for n, x in p.options.items() if n != option}))[0] for p in probe.problems]
        return all(near(got, plain) for got, plain in zip(answers, bare, strict=True))

    def needs_causal(self, option: str, probe: Probe) -> bool:
        """Returns whether a window that changes nothing by itself has an effect together with causal."""
        if option != "window" or "causal" not in self.options:
            return False
        causal = replace(probe, problems=tuple(p.but(causal=True) for p in probe.problems))
        try:
            return not self.ignored(option, causal, [self.stranger.call(p)[0] for p in causal.problems])
        except (Raised, Misshaped):
            return False

    def asked_to_the_left(self, probe: Probe, said: str) -> bool:
        """Asks about windows without keys to the right, where others are refused and no window is declared; returns whether it did."""
        left = tuple(p for p in probe.problems if p.options.get("window", (0, 0))[1] == 0)
        if probe.needs != ("window",) or len(left) == len(probe.problems) or "window" in (self.supports or frozenset()):
            return False
        self.room = replace(self.room, right_windows=False, open_windows=False)
        self.ask(replace(probe, problems=left))
        if "window" in self.options:
            self.untested.append(("window with keys to the right", said))
        return True

    def refused(self, probe: Probe, name: str, said: str) -> None:
        """Notes options that the kernel does not take: a finding where they are declared, untested otherwise."""
        declared = self.supports or frozenset()
        if probe.question == "groups":
            self.room = replace(self.room, groups=False)
            self.lacks("groups", said)
            return
        if len(probe.needs) == 1:
            self.options.remove(probe.needs[0])
        elif probe.needs:
            self.apart.append(frozenset(probe.needs))
        if not probe.needs:
            self.findings.append(Finding("FAILS", probe.question, said))
        elif self.declared.get(probe.question) == "refused":
            self.tested.append(probe.question)
        elif set(probe.needs) <= declared:
            line = f"; if that is meant, declare it: dialect={{{probe.question!r}: 'refused'}}"
            hint = line if "refused" in QUESTIONS[probe.question] else ""
            self.findings.append(Finding("REFUSES", probe.needs[0] if len(probe.needs) == 1 else probe.question,
                                         f"`{name}` is declared and raises {said}{hint}"))
        else:
            self.untested.append((name, said))

    def lacks(self, feature: str, said: str) -> None:
        """Notes that a kernel does not take certain shapes: a finding where they are declared, untested otherwise."""
        if feature in (self.supports or frozenset()):
            self.findings.append(Finding("REFUSES", feature, f"{FEATURES[feature]} are declared and raise {said}"))
        else:
            self.untested.append((feature, f"{FEATURES.get(feature, 'calls with it')}: {said}"))

    def tried(self, case: Case, *, gradients: bool = False) -> tuple[float, Any, Any]:
        """Returns the error of one case in budgets, the kernel's answer and the budget; a refusal counts as infinitely wrong."""
        p, rng, dtype = case.problem(self.stranger.dtype), np.random.default_rng(case.seed), self.stranger.dtype
        if not gradients:
            budget = budgets.of_outputs(p, self.found, self.inside, dtype, rng)
            got: Any = self.stranger.call(p)
            if len(got) == 2:
                budget = budgets.with_lse(budget, p, self.found, self.inside, dtype, rng)
        else:
            d_out = case.array(6, (case.batch, case.heads, case.q_len, case.value_dim))
            d_out = d_out if dtype == "float64" else rounded(d_out, dtype).astype(np.float64)
            budget = budgets.of_gradients(p, d_out, self.found, self.inside, dtype, rng)
            got = self.stranger.gradients(p, d_out)
            budget = type(budget)(budget.truth[: len(got)], budget.allowed[: len(got)])
        return budget.spent(got), got, budget

    def drawn(self, number: int) -> Case:
        """Returns the number-th case, without what the layout has no axis for or the kernel refuses together."""
        return self.without_refused(draw(self.rng, number, self.options, self.room))

    def without_refused(self, case: Case) -> Case:
        """Returns the case without one of each set of options that the kernel refuses together."""
        for together in self.apart:
            names = [name for name, _ in case.options]
            if together <= set(names):
                case = case.only([name for name in names if name != max(together, key=names.index)])
        return case

    def judge(self, count: int, *, gradients: bool = False) -> None:
        """Compares outputs or gradients with the definition, and makes findings of what is over budget."""
        question = "gradients" if gradients else "output"
        failed: list[tuple[Case, str]] = []
        passed: list[tuple[Case, str]] = []
        for number in range(count):
            case = self.drawn(number)
            try:
                if failed and self.late(LOOKING):
                    raise Late
                spent, _, _ = self.tried(case, gradients=gradients)
            except Late:
                self.stopped(question, number, count)
                break
            except Raised as error:
                self.refused_together(question, case, str(error))
                continue
            except Misshaped as error:
                failed.append((case, str(error)))
                continue
            self.problems += 1
            self.worst = max(self.worst, spent)
            (failed if spent > 1.0 else passed).append((case, too_large(spent)))
        self.tested += [question] if failed or passed else []
        self.failed += len(failed)
        if failed:
            explain(self, question, failed, passed)

    def refused_together(self, question: str, case: Case, said: str) -> None:
        """Notes a call that raises: options that are refused together, or, without any, sizes that are."""
        if any(finding.verdict == "REFUSES" and finding.question == question and not finding.options for finding in self.findings):
            return  # sizes that are refused are shrunk once
        case, said = shrunk(self, case, said, question == "gradients", raising=True)
        names, declared = tuple(name for name, _ in case.options), self.supports or frozenset()
        call = " with ".join(names) or "a call without options"
        if names:
            self.apart.append(frozenset(names))
        if names and not set(names) <= declared:
            self.untested.append((f"{question} with {call}" if question == "gradients" else call, said))
        else:
            self.findings.append(Finding("REFUSES", question, f"{call} ({case.sizes}) raises {said}", options=names))

    def fitting(self, cases: int = 6) -> str:
        """Returns the strictest class of arithmetic whose budget holds the kernel's errors."""
        drawn = [self.drawn(number) for number in range(cases)]
        for name in classes_of(self.stranger.dtype):
            try:
                if all(replace(self, inside=name).tried(case)[0] <= 1.0 for case in drawn):
                    return name
            except (Raised, Misshaped):
                return self.inside
            except Late:
                return "not measured"
        return "none of the classes"
