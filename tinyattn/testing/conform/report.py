"""What the kit says: a verdict, the dialect that was found, findings with a few lines that show each, and what was not tested."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tinyattn.laws.precision import CLASSES

WIDTH = 80
# The gravest first; the verdict of a report is the gravest of its findings.
VERDICTS = {
    "CRASHED": "the kernel raised an error on a call without options, ended its process or did not end",
    "FAILS": "a result is wrong, even by the conventions that the kernel itself follows",
    "IGNORES": "an option is accepted and changes nothing",
    "REFUSES": "a declared option raises an error",
    "DIFFERS": "the kernel is right, but by other conventions than those declared",
    "CONFORMS": "every question that was asked is answered as the definition answers it",
}


def too_large(spent: float) -> str:
    """Returns what to say of an error in budgets.

    >>> too_large(1234.5)
    'the error is 1.23e+03 times what rounding allows'
    """
    return f"the error is {spent:.3g} times what rounding allows" if math.isfinite(spent) else "NaN or inf where a number is expected"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its verdict, the question it answers, what was seen, a script that shows it, the nearest bug.

    `options` are those that are left in the smallest call that shows it. `known` is the link of a declared failure, which
    then does not count.
    """

    verdict: str
    question: str
    says: str
    script: str = ""
    nearest: str = ""
    known: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """The result of `conform`: prints as text, and `as_dict()` is what a JSON file holds."""

    dialect: Mapping[str, str]
    findings: tuple[Finding, ...]
    untested: tuple[tuple[str, str], ...]
    tested: tuple[str, ...]
    hazards: tuple[str, ...]
    worst: float
    inside: str
    problems: int
    failed: int
    seconds: float
    seed: int

    @property
    def verdict(self) -> str:
        """The gravest verdict of the findings that are not known; CONFORMS if there are none."""
        found = {finding.verdict for finding in self.findings if not finding.known}
        return next((verdict for verdict in VERDICTS if verdict in found), "CONFORMS")

    def of(self, question: str) -> tuple[Finding, ...]:
        """Returns the findings of one question."""
        return tuple(finding for finding in self.findings if finding.question == question)

    def marked(self, known: Mapping[str, str]) -> Report:
        """Returns the report with known failures marked, by their question or by an option that a smallest call still needs.

        A known failure that did not fail is a finding itself, whether it passed or was not tested.
        """
        findings = [replace(finding, known=next((known[name] for name in (finding.question, *finding.options) if name in known), ""))
                    for finding in self.findings]
        failing = {name for finding in findings for name in (finding.question, *finding.options)}
        findings += [Finding("FAILS", name, f"is declared a known failure ({link}) and "
                             f"{'passes' if name in self.tested else 'was not tested'}: remove it from `known`")
                     for name, link in known.items() if name not in failing]
        return replace(self, findings=tuple(findings))

    def as_dict(self) -> dict[str, Any]:
        """Returns the report as JSON has it; `worst` is None where an output that should be finite is not."""
        return {"verdict": self.verdict, "dialect": dict(self.dialect), "findings": [vars(finding) for finding in self.findings],
                "untested": [list(pair) for pair in self.untested], "tested": list(self.tested), "hazards": list(self.hazards),
                "worst": self.worst if math.isfinite(self.worst) else None, "inside": self.inside, "problems": self.problems,
                "failed": self.failed, "seconds": self.seconds, "seed": self.seed}

    def __str__(self) -> str:
        def said(text: str, indent: str = "  ") -> str:
            return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False,
                                 break_on_hyphens=False)

        lines = [said(f"{self.verdict}: {VERDICTS[self.verdict]}", "")]
        for finding in self.findings:
            known = f" (known: {finding.known})" if finding.known else ""
            lines += ["", said(f"{finding.verdict} {finding.question}{known}: {finding.says}", "")]
            lines += [said(finding.nearest)] if finding.nearest else []
            lines += [textwrap.indent(finding.script, "    ")] if finding.script else []
        lines += ["", said(f"tested: {', '.join(self.tested) or 'nothing'}", "")]
        lines += [said(f"UNTESTED {name}: {reason}", "") for name, reason in self.untested]
        lines += [said(f"hazard: {hazard}", "") for hazard in self.hazards]
        means, took = f" ({CLASSES[self.inside]})" if self.inside in CLASSES else "", f"(seed {self.seed}, {self.seconds:.1f} s)"
        lines += [said(f"arithmetic: {self.inside}{means}. The worst error is {self.worst:.2f} times what rounding allows, "
                       f"over {self.problems} problems {took}" if self.problems else f"no output was compared {took}", "")]
        return "\n".join(lines)
