"""Writes the field report: python -m tests.peers.report docs/field.md [NAME ...] judges what is installed."""

import argparse
import datetime
import importlib.metadata
import logging
import platform
import warnings
from pathlib import Path
from unittest import mock

from tests.peers.kernels import PEERS
from tinyattn.testing import conform
from tinyattn.testing.conform import judge
from tinyattn.testing.conform.dialect import OURS, QUESTIONS

START = """# Field report

What the conformance kit says about attention functions of other libraries, run on {date} with Python {python}, on CPU.
`python -m tests.peers.report docs/field.md` writes this page; the adapters, at most ten lines each, are in
`tests/peers/kernels.py`. Errors are multiples of what rounding
can explain: at most 1 is right. A dialect is the set of conventions in which libraries differ, though each is right in its own terms.
The [guide](guides/kernel.md) explains the verdicts.
"""
DTYPES = ("float32", "float64", "bfloat16", "float16")


FEWER = 16


def quietly(make, problems=judge.PROBLEMS, **options):
    """Returns the report on a kernel, without the warnings of its library."""
    with warnings.catch_warnings(), mock.patch.object(judge, "PROBLEMS", problems):
        warnings.simplefilter("ignore")
        return conform(make(), **options)


def section(name, make, arrays, preset, packages, seconds):
    """Returns what the kit says about one kernel, as a section of the page."""
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    declared = quietly(make, arrays=arrays, dialect=preset, seconds=seconds)
    plain = quietly(make, FEWER, arrays=arrays, seconds=seconds, gradients=False) if preset else declared
    lines = [f"## {name}", "", f"{versions}. Verdict with nothing declared: {plain.verdict}"
             + (f"; declared as `{preset}`: {declared.verdict}." if preset else "."), ""]
    words = {question: word for question, word in plain.dialect.items() if word != OURS[question]}
    lines += [f"- `{question}`: `{word}`, {QUESTIONS[question][word]}" for question, word in words.items()] or [
        "- its dialect is the definition's own"]
    lines += ["", "| dtype | verdict | arithmetic | worst error | problems |", "|---|---|---|---|---|"]
    for dtype in DTYPES:
        got = declared if dtype == "float32" else quietly(make, FEWER, arrays=arrays, dialect=preset, dtype=dtype, gradients=False,
                                                          seconds=seconds)
        lines.append(f"| {dtype} | {got.verdict} | {got.inside} | {got.worst:.2f} | {got.problems} |")
    return "\n".join([*lines, "", "```text", str(declared), "```", ""])


def main():
    """Judges each library that is installed, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("names", nargs="*", help="words in the names of what is judged (default: everything)")
    parser.add_argument("--seconds", type=float, default=120.0)
    given = parser.parse_args()
    logging.disable(logging.ERROR)
    parts = [START.format(date=datetime.date.today(), python=platform.python_version())]
    for name, make, arrays, preset, packages in PEERS:
        if given.names and not any(word in name for word in given.names):
            continue
        try:
            parts.append(section(name, make, arrays, preset, packages, given.seconds))
        except ImportError as error:
            parts.append(f"## {name}\n\nNot run: {error}.\n")
        given.file.write_text("\n".join(parts))
        print(name, flush=True)


if __name__ == "__main__":
    main()
