"""conformance(fn): the kit as pytest tests, one per question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from tinyattn.testing.conform.judge import ASKED, conform
from tinyattn.testing.conform.report import Report


def conformance(fn: Callable[..., Any], *, known: Mapping[str, str] | None = None, **options: Any) -> Callable[..., None]:
    """Returns one pytest test per question; the kernel is judged once, when the first of them runs.

    The arguments are those of `conform`. A question that is known to fail must fail: the test is then an expected failure
    that cites the link, and an error where it passes. A question that was not tested is skipped with its reason.

    >>> from tinyattn.definitions import attention
    >>> test_mine = conformance(attention)  # in a file that pytest collects
    """
    import pytest

    @cache
    def judged() -> Report:
        return conform(fn, known=known, **options)

    @pytest.mark.parametrize("question", ASKED)
    def test_conforms(question: str) -> None:
        try:
            report = judged()
        except (ValueError, TypeError) as error:
            pytest.fail(f"conformance: {error}", pytrace=False)
        found = report.of(question)
        if found and all(finding.known for finding in found):
            pytest.xfail(f"known: {found[0].known}")
        if found:
            pytest.fail("\n\n".join(f"{f.verdict}: {f.says}\n{f.nearest}\n{f.script}" for f in found if not f.known), pytrace=False)
        reasons = [reason for name, reason in report.untested if name == question]
        if question not in report.tested:
            pytest.skip(reasons[0] if reasons else "was not asked")

    return test_conforms
