"""tinyattn check [NAME | module:function]: runs the laws of one mechanism, or of all, or judges a kernel of somebody else."""

from __future__ import annotations

import argparse

import numpy as np

from tinyattn.catalog import ROWS, find
from tinyattn.cli import check_kernel
from tinyattn.cli.terminal import paragraph, positive, seed, table
from tinyattn.laws import check


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("name", nargs="?", help="a mechanism (default: all), or module:function, a kernel of your own")
    parser.add_argument("--examples", type=positive, default=10, metavar="N", help="problems per law (default 10)")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="seed of the problems that are drawn (default 0)")
    check_kernel.options(parser)


def run(given: argparse.Namespace) -> int:
    """Runs the laws and prints a table per mechanism, or judges a kernel; returns 1 if a law fails or it does not conform."""
    if given.program or ":" in (given.name or ""):
        return check_kernel.run(given)
    failed = 0
    for row in [find(given.name)] if given.name else ROWS:
        lines, broken = [], []
        for law in row.laws:
            rng = np.random.default_rng(given.seed)
            report = check(law.fitted(row.fit), row.mechanism, honest=row.mechanism, rng=rng, examples=given.examples)
            worst = "bit for bit" if law.exact and report.holds else f"{report.worst:.2f}"
            lines.append([law.name, str(report.examples), str(report.redrawn), worst, "holds" if report.holds else "FAILS"])
            if not report.holds:
                broken.append(f"{law.name} (seed {given.seed}): {law.says}\n    {report.failing}")
        table(["law", "tried", "redrawn", "worst", "result"], lines, title=row.name)
        print("\n".join(broken) + "\n" if broken else "")
        failed += len(broken)
    paragraph("tried: problems that were drawn. redrawn: problems thrown away, as a wrong result would have passed on them. worst: "
              "the largest error as a part of the error budget that was measured on the same problem; a law holds if it is at most 1. "
              "Inputs are drawn by a seeded generator; the test suite draws them by hypothesis, which also shrinks a failing one.")
    return 1 if failed else 0
